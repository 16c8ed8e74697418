"""What holds for every page: accessible, usable by keys, on phones, in dark mode, without a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, expect

from rockstar_cli.transfer import export
from rockstar_cli.watch import serve_page
from rockstar_serving.gateway.pages import litert_version
from rockstar_training.runs import read_runs, write_runs_page
from tests.browser.conftest import checked_page
from tests.browser.test_watch import LINEAR, LOGISTIC
from tests.environments import node_packages

_VIOLATIONS = """async () => (await axe.run()).violations.map(({ id, help, nodes }) =>
  `${id}: ${help}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`)"""
# Colors may take a moment to change.
_SETTLED = """() => Promise.allSettled(document.getAnimations()
  .filter((each) => each instanceof CSSTransition).map((each) => each.finished)).then(() => true)"""
# What keys must reach; of radio buttons the chosen one.
_CONTROLS = """() => [...document.querySelectorAll("a[href], button, input, select, summary, textarea, [tabindex='0']")]
  .filter((each) => each.checkVisibility({ visibilityProperty: true }) && each.tabIndex >= 0 && !each.disabled && (each.type !== "radio" || each.checked))"""


def draws_three(page: Page) -> None:
    page.get_by_role("button", name="Sample 3").click()
    expect(page.get_by_text("say 3").or_(page.locator("#answer", has_text="3"))).to_be_visible()


def looks_inside(page: Page) -> None:
    draws_three(page)
    page.get_by_role("button", name="Look inside").last.click()
    expect(page.get_by_alt_text("The prepared image")).to_be_visible()


def learns(page: Page) -> None:
    page.get_by_role("button", name="One epoch").click()
    expect(page.locator("#epoch")).to_have_text("1")


def shows(text: str) -> Any:
    return lambda page: expect(page.get_by_text(text).first).to_be_visible()


PAGES = {
    "/": looks_inside,
    "/playground": learns,
    "/playground#data=digits&layers=24-24": learns,
    "/docs": shows("/predict/{model}"),
    "report": shows("Confusion matrix"),
    "runs": shows("cnn-1"),
    "watch": shows("Training failed: the loss became nan"),
    "export": draws_three,
}


@pytest.fixture(scope="module")
def addresses(
    url: str, trained_models: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The addresses of the pages by name."""
    folder = tmp_path_factory.mktemp("pages")
    watched = [folder / "watched" / name for name in ("linear-1", "logistic-1")]
    for run, events in zip(watched, (LINEAR, LOGISTIC), strict=True):
        run.mkdir(parents=True)
        (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    found = {name: url + name for name in PAGES if name.startswith("/")}
    run = trained_models.workdir / "runs" / "cnn-1"
    (folder / run.name).symlink_to(run)
    # The gateway serves it, too, but its policy allows no scripts, not even those of this test.
    found["report"] = (run / "report.html").as_uri()
    found["runs"] = write_runs_page(folder, *read_runs(folder)).as_uri()
    if litert_version():
        file = str(folder / "cnn.html")
        models = str(trained_models.workdir / "models")
        done = CliRunner().invoke(export, ["cnn", "--html", file, "--models", models])
        assert done.exit_code == 0, done.output
        found["export"] = Path(file).as_uri()
    with serve_page(folder / "watched", watched) as (watch, _):
        yield found | {"watch": str(watch)}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_works_for_everyone(
    browser: Browser, addresses: dict[str, str], request: pytest.FixtureRequest, name: str
) -> None:
    if name not in addresses:
        pytest.skip("no LiteRT for browsers: make litert-web (needs npm)")
    axe = (node_packages(request.config) / "axe-core" / "axe.min.js").read_text()
    address = addresses[name]
    origin = address[: address.find("/", 8)] if address.startswith("http") else "file:"
    with checked_page(browser, origin, color_scheme="light", reduced_motion="reduce") as page:
        page.goto(address)
        PAGES[name](page)
        page.evaluate(
            "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
        )
        # Not as a script element, which the pages' Content-Security-Policy forbids.
        page.evaluate(axe)
        for scheme, width in (("light", 1280), ("light", 390), ("dark", 390), ("dark", 1280)):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 800})
            page.evaluate(_SETTLED)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(_VIOLATIONS) == []
        page.evaluate(f"window.wanted = new Set(({_CONTROLS})())")
        for _ in range(page.evaluate("document.activeElement.blur(), 2 * wanted.size")):
            page.keyboard.press("Tab")
            page.evaluate("wanted.delete(document.activeElement)")
        assert page.evaluate("[...wanted].map((each) => each.outerHTML)") == []


def test_a_printed_report_has_its_tables(browser: Browser, addresses: dict[str, str]) -> None:
    with browser.new_page() as page:
        page.goto(addresses["report"])
        recall = page.get_by_role("columnheader", name="Recall")
        expect(recall).to_be_hidden()
        page.emulate_media(media="print")
        expect(recall).to_be_visible()
