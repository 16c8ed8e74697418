"""The page at `/playground`, in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from rockstar_serving.gateway.app import create_app
from tests.browser.conftest import checked_page
from tests.http_servers import application
from tests.unit.gateway.conftest import LIMITED, FakeServer

SPIRAL = "#data=spiral&layers=8-8&optimizer=Adam&rate=0.03&features=x-y-sin+x-sin+y"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with application(create_app(LIMITED, FakeServer())) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with checked_page(browser, address) as page:
        page.goto(f"{address}/playground")
        yield page


def opened(page: Page, hash_: str) -> None:
    page.evaluate("hash => { window.location.hash = hash; }", hash_)
    expect(page.locator("#epoch")).to_have_text("0")


def train(page: Page, until: str) -> None:
    """Train until an expression about the numbers in the page is true."""
    page.get_by_role("button", name="Train", exact=True).click()
    numbers = "const [train, test] = ['train', 'test'].map((id) => Number(document.getElementById(`${id}-loss`).textContent));"
    page.wait_for_function(f"() => {{ {numbers} return {until}; }}", timeout=60_000)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Paused at epoch \d+: test loss"))


def test_it_learns_xor_and_the_spiral(page: Page) -> None:
    opened(page, "#data=xor&layers=4&rate=0.1")
    train(page, "test < 0.15")
    opened(page, SPIRAL)
    train(page, "test < 0.05")
    expect(page.locator("#test-accuracy")).to_have_text(re.compile(r"(9\d|100)\.\d %"))


def test_xor_needs_a_hidden_layer(page: Page) -> None:
    opened(page, "#data=xor&layers=")
    for _ in range(20):
        page.get_by_role("button", name="One epoch").click()
    expect(page.locator("#epoch")).to_have_text("20")
    assert float(page.locator("#test-loss").inner_text()) > 0.5


def test_it_learns_digits_and_predicts_a_drawn_one(page: Page) -> None:
    opened(page, "#data=digits&layers=8&rate=0.3")
    train(page, "test < 0.3")
    page.get_by_label("Drawing area").focus()
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#bars .best th")).to_have_text("1")


def test_settings_are_in_the_link(page: Page, address: str) -> None:
    page.get_by_role("combobox", name="Data").select_option("spiral")
    page.get_by_role("combobox", name="Activation").select_option("arctan")
    page.get_by_role("button", name="Add a neuron to layer 1").click()
    page.get_by_role("checkbox", name="xy").check()
    page.get_by_label("Noise").fill("0.25")
    link = page.url
    assert link.startswith(f"{address}/playground#")
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_role("combobox", name="Data")).to_have_value("spiral")
    expect(page.get_by_role("combobox", name="Activation")).to_have_value("arctan")
    expect(page.get_by_role("checkbox", name="xy")).to_be_checked()
    expect(page.get_by_label("Noise")).to_have_value("0.25")
    expect(page.get_by_role("button", name=re.compile("Neuron . of layer 1"))).to_have_count(5)


@pytest.mark.parametrize(
    "hash_",
    [
        "#data=none&layers=99-x--3&rate=fast&noise=7&features=z",
        "#layers=8-8-8-8-8-8&batch=-1&train=0",
        "#%E0%A4%A",
        "#features=constructor&activation=toString",
    ],
)
def test_wrong_links_get_defaults(page: Page, hash_: str) -> None:
    opened(page, hash_)
    page.get_by_role("button", name="One epoch").click()
    expect(page.locator("#epoch")).to_have_text("1")
    assert float(page.locator("#test-loss").inner_text()) < 5


def test_too_high_a_learning_rate_is_explained(page: Page) -> None:
    opened(page, "#data=circle&features=x²-y²-xy&layers=8-8&activation=linear&rate=10")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("the learning rate is too high")
    page.get_by_role("combobox", name="Learning rate").select_option("0.03")
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_role("status")).to_have_text("")
    expect(page.locator("#epoch")).to_have_text("0")


def test_a_neuron_is_shown_large(page: Page) -> None:
    neuron = page.get_by_role("button", name="Neuron 2 of layer 1")
    neuron.click()
    expect(neuron).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("img", name="Neuron 2 of layer 1 over the plane")).to_be_visible()
    neuron.click()
    expect(page.get_by_role("img", name="The network over the plane")).to_be_visible()
