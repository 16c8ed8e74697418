"""The page at `/`, in a real browser."""

import dataclasses
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from rockstar_contract.images import FORMATS
from rockstar_serving.gateway.app import create_app
from rockstar_training.config import config_for
from rockstar_training.train import train_and_evaluate
from tests.browser.conftest import checked_page, gateway
from tests.http_servers import application
from tests.shared_data import shared_data
from tests.table_models import table_classifier
from tests.unit.gateway.conftest import LIMITED, FakeServer


def card(page: Page, model: str):
    return page.locator("article", has=page.get_by_role("heading", name=model, exact=True))


def said(page: Page):
    """The verdict, which screen readers announce."""
    return page.locator("#message")


def draw(page: Page, pixels: NDArray[np.uint8]) -> None:
    """Draw the ink of a digit with the mouse, line by line."""
    box = page.get_by_label("Drawing area").bounding_box()
    assert box is not None
    height, width = pixels.shape
    for row in range(height):
        ink = np.flatnonzero(np.diff(np.pad(pixels[row] > 160, 1)))
        for left, right in ink.reshape(-1, 2):
            y = box["y"] + (row + 0.5) / height * box["height"]
            page.mouse.move(box["x"] + (left + 0.9) / width * box["width"], y)
            page.mouse.down()
            page.mouse.move(box["x"] + (right - 0.9) / width * box["width"], y)
            page.mouse.up()


@pytest.mark.parametrize("digit", ["2", "3", "5"])
def test_a_drawn_digit_gets_its_label(page: Page, digit: str) -> None:
    path = sorted((shared_data("digits-png") / digit).iterdir())[0]
    draw(page, np.asarray(Image.open(path).convert("L")))
    expect(card(page, "cnn").locator(".answer")).to_have_text(digit)
    expect(said(page)).to_contain_text(f"cnn: {digit} (")


def test_every_model_answers_with_bars_version_and_latency(page: Page) -> None:
    page.get_by_role("button", name="Sample 2").click()
    for model in ("logistic", "mlp", "cnn"):
        expect(card(page, model).locator(".answer")).to_have_text("2")
        expect(card(page, model).locator(".about")).to_have_text(re.compile(r"version 1 · \d+ ms"))
        bars = card(page, model).get_by_role("rowheader")
        expect(bars.filter(visible=True)).to_have_text(list("0123456789"))
        expect(card(page, model).locator(".best th")).to_have_text("2")
    page.reload()
    expect(card(page, "cnn").locator(".answer")).to_have_text("2")


def test_a_file_is_sent_unchanged(page: Page) -> None:
    path = sorted((shared_data("digits-png") / "0").iterdir())[0]
    page.get_by_label("Choose an image").set_input_files(path)
    expect(card(page, "cnn").locator(".answer")).to_have_text("0")
    expect(page.get_by_alt_text("The image that you chose")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_alt_text("The image that you chose")).to_be_hidden()
    expect(card(page, "cnn").locator(".answer")).to_have_text("–")


def test_an_invalid_image_gets_one_error(page: Page) -> None:
    page.get_by_label("Choose an image").set_input_files(
        {"name": "seven.png", "mimeType": "image/png", "buffer": b"no image at all"}
    )
    # Once, not in the card of each model.
    expect(said(page)).to_have_text(
        f"seven.png: expected an image ({FORMATS}), got text that starts with “no image at all”."
    )
    expect(card(page, "cnn").locator(".problem")).to_be_hidden()
    expect(card(page, "cnn").locator(".answer")).to_have_text("–")
    expect(page.get_by_text("This browser cannot show seven.png.")).to_be_visible()
    expect(page.get_by_alt_text("The image that you chose")).to_be_hidden()
    expect(card(page, "cnn").get_by_role("button", name="Why")).to_be_disabled()
    page.get_by_role("button", name="Sample 2").click()
    expect(page.get_by_text("This browser cannot show")).to_be_hidden()


def test_a_chosen_file_is_known_by_its_bytes_not_by_its_name(page: Page) -> None:
    choose = page.get_by_label("Choose an image")
    choose.set_input_files(
        {"name": "paper.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7\n\xe2\xe3"}
    )
    expect(said(page)).to_have_text(
        f"paper.pdf: expected an image ({FORMATS}), got a PDF document; export it as PNG or JPEG."
    )
    path = sorted((shared_data("digits-png") / "0").iterdir())[0]
    choose.set_input_files({"name": "zero", "mimeType": "text/plain", "buffer": path.read_bytes()})
    expect(card(page, "cnn").locator(".answer")).to_have_text("0")


def test_it_works_by_keys_alone(page: Page) -> None:
    page.get_by_label("Drawing area").focus()
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(card(page, "cnn").locator(".answer")).to_have_text("1")
    page.keyboard.press("Escape")
    expect(card(page, "cnn").locator(".answer")).to_have_text("–")


def test_why_shows_a_picture_of_the_explanation(page: Page) -> None:
    page.get_by_role("button", name="Sample 5").click()
    cnn = card(page, "cnn")
    expect(cnn.locator(".answer")).to_have_text("5")
    why = cnn.get_by_role("button", name="Why did cnn predict this?")
    why.click()
    picture = cnn.get_by_alt_text("orange supports 5")
    expect(picture).to_be_visible()
    expect(why).to_have_attribute("aria-pressed", "true")
    assert picture.evaluate("image => image.naturalWidth") >= 300
    why.click()
    expect(picture).to_be_hidden()


def test_the_model_card_has_metrics_and_the_confusion_matrix(page: Page) -> None:
    cnn = card(page, "cnn")
    cnn.get_by_text("Model card").click()
    expect(cnn.get_by_role("row", name=re.compile("test accuracy 0.9"))).to_be_visible()
    expect(cnn.locator(".matrix tbody tr")).to_have_count(10)


def test_models_come_in_the_order_of_the_lecture(page: Page) -> None:
    headings = page.locator("article").get_by_role("heading")
    expect(headings).to_have_text(["logistic", "mlp", "cnn"])


def test_the_verdict_of_all_models(page: Page) -> None:
    page.get_by_role("button", name="Sample 3").click()
    expect(said(page).get_by_text("All three say 3", exact=True)).to_be_visible()
    # A zigzag from left to right: cnns of five seeds were at most 16 % sure of a digit.
    box = page.get_by_label("Drawing area").bounding_box()
    assert box is not None
    page.get_by_role("button", name="Clear").click()
    corners = [(0.15, 0.15), (0.3, 0.85), (0.45, 0.15), (0.6, 0.85), (0.75, 0.15), (0.85, 0.85)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    expect(said(page)).to_contain_text("Not sure: this does not look like a digit")


def answer(model: str, label: str, score: float, accuracy: float, labels: str = "0123456789"):
    first = {"label": label, "score": score}
    return {**first, "model": model, "top": [first], "accuracy": accuracy, "labels": list(labels)}


@pytest.mark.parametrize(
    ("answers", "headline"),
    [
        ([answer("a", "3", 0.9, 0.9)], "a says 3"),
        ([answer("a", "3", 0.9, 0.9), answer("b", "3", 0.2, 0.8)], "Both say 3"),
        ([answer(name, "3", 0.9, 0.9) for name in "abcd"], "All 4 say 3"),
        (
            [
                answer("a", "8", 0.9, 0.7),
                answer("b", "3", 0.9, 0.9),
                answer("c", "3", 0.9, 0.8),
            ],
            "They disagree: b and c say 3, a says 8",
        ),
        ([answer("a", "x", 0.6, 0.9, "xyz")], "Not sure: this does not look like x, y or z"),
        (
            [answer("a", "3", 0.9, 0.9), answer("b", "x", 0.9, 0.9, "xyz")],
            "a says 3, b says x",
        ),
    ],
)
def test_verdicts(page: Page, answers: list[Any], headline: str) -> None:
    script = "async answers => (await import('./static/verdict.js')).verdict(answers).headline"
    assert page.evaluate(script, answers) == headline


def test_look_inside_follows_the_drawing(page: Page) -> None:
    look = card(page, "cnn").get_by_role("button", name="Look inside")
    look.click()
    inside = page.get_by_role("region", name="Inside cnn")
    expect(inside.get_by_text("Draw something")).to_be_visible()
    page.get_by_role("button", name="Sample 3").click()
    expect(inside.get_by_alt_text("The prepared image, 20 × 20 pixels")).to_be_visible()
    expect(inside.get_by_role("listitem")).to_have_count(5)
    expect(inside.get_by_role("listitem").first).to_have_text("3")
    layer = inside.get_by_text("relu_1:")
    layer.click()
    maps = inside.get_by_alt_text("that relu_1 computes")
    expect(maps).to_be_visible()
    before = maps.get_attribute("src")
    page.get_by_role("button", name="Sample 0").click()
    expect(inside.get_by_role("listitem").first).to_have_text("0")
    # A layer stays unfolded.
    expect(maps).to_be_visible()
    assert maps.get_attribute("src") != before
    look.click()
    expect(inside).to_be_hidden()


def test_links_lead_to_the_card_and_the_report(page: Page) -> None:
    cnn = card(page, "cnn")
    cnn.get_by_text("Model card", exact=True).click()
    cnn.get_by_role("link", name="Training report").click()
    expect(page.get_by_role("heading", name="Confusion matrix")).to_be_visible()
    page.go_back()
    card(page, "cnn").get_by_text("Model card", exact=True).click()
    card(page, "cnn").get_by_role("link", name="Card as text").click()
    expect(page.get_by_text("cnn")).to_be_visible()


@pytest.mark.parametrize(
    ("language", "command"),
    [
        ("curl", ["bash", "-c"]),
        ("Python", [sys.executable, "-c"]),
        ("JavaScript", ["node", "--input-type=module", "-e"]),
    ],
)
def test_the_copied_code_runs(
    page: Page, language: str, command: list[str], tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    page.get_by_role("button", name="Sample 5").click()
    expect(said(page)).to_contain_text("say 5")
    use = page.get_by_role("region", name="Use it from your code", exact=True)
    use.get_by_role("radio", name=language).check()
    with page.expect_download() as download:
        use.get_by_role("button", name="Save the image").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    code = use.locator("code").inner_text()
    printed = subprocess.run([*command, code], capture_output=True, text=True, cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert re.search(r"\W5\b", printed.stdout), printed.stdout


@pytest.fixture
def table_page(browser: Browser) -> Iterator[Page]:
    """The page of a gateway with a model of tables."""
    upstream = FakeServer()
    upstream.versions = {1: table_classifier()}
    app = create_app(dataclasses.replace(LIMITED, models=("toy",)), upstream)
    with application(app) as url, browser.new_page() as page:
        page.goto(url)
        yield page


def test_a_row_may_be_incomplete(table_page: Page) -> None:
    toy = card(table_page, "toy")
    # The form starts with a typical row.
    expect(toy.locator(".answer")).not_to_have_text("–")
    toy.get_by_label("color").fill("green")
    toy.get_by_label("petal width", exact=True).clear()
    toy.get_by_role("button", name="Predict").click()
    filled_in = "Filled in: petal width 1. Not seen in training: color “green”."
    expect(toy.get_by_text(filled_in)).to_be_visible()
    expect(toy.locator(".answer")).not_to_have_text("–")
    toy.get_by_label("petal width", exact=True).fill("2,5")
    toy.get_by_label("color").fill("red")
    toy.get_by_role("button", name="Predict").click()
    expect(toy.get_by_text("Filled in")).to_be_hidden()
    expect(toy.locator(".problem")).to_be_hidden()
    toy.get_by_label("petal width", exact=True).fill("wide")
    expect(toy.locator(".problem")).to_have_text(
        "Petal width: expected a number, got the text 'wide'."
    )


def test_a_slider_sets_the_number_and_asks(table_page: Page) -> None:
    toy = card(table_page, "toy")
    slider = toy.get_by_label("Slider of petal width")
    slider.focus()
    table_page.keyboard.press("End")
    value = toy.get_by_label("petal width", exact=True)
    expect(value).to_have_value("2.50")
    curve = toy.get_by_role("img", name="As petal width goes from")
    expect(curve).to_be_visible()


def test_without_models_of_images_there_is_nothing_to_draw(table_page: Page) -> None:
    expect(card(table_page, "toy").locator(".answer")).not_to_have_text("–")
    expect(table_page.get_by_label("Drawing area")).to_be_hidden()
    use = table_page.get_by_role("region", name="Use it from your code", exact=True)
    expect(use.locator("code")).to_contain_text('"petal width":')
    expect(use.get_by_role("button", name="Save the image")).to_be_hidden()


def test_a_browser_asks_for_the_key_once(browser: Browser) -> None:
    digest = hashlib.sha256(b"the key").hexdigest()
    config = dataclasses.replace(LIMITED, models=("toy",), api_keys=(f"alice:{digest}",))
    credentials: Any = {"username": "anyone", "password": "the key"}
    with (
        application(create_app(config, FakeServer())) as url,
        browser.new_context(http_credentials=credentials) as context,
        context.new_page() as page,
    ):
        page.goto(url)
        page.get_by_role("button", name="Sample 2").click()
        expect(card(page, "toy").locator(".answer")).not_to_have_text("–")


def test_it_is_taught_and_the_new_version_answers_beside_the_old_one(
    browser: Browser, trained_models: Any, tmp_path: Path
) -> None:
    shutil.copytree(trained_models.workdir / "models", tmp_path / "models")
    corrections = tmp_path / "corrections"
    taught = "4"
    with (
        gateway(tmp_path / "models", corrections=str(corrections)) as url,
        checked_page(browser, url) as page,
    ):
        page.goto(url)
        page.get_by_role("heading", name="logistic").wait_for()
        answer, before = (card(page, "logistic").locator(c) for c in (".answer", ".before"))
        for place in range(3):  # a bar in three places, which no model calls a four
            page.get_by_role("button", name="Clear").click()
            bar = np.zeros((28, 28), np.uint8)
            bar[8 + place : 20 + place, 13:15] = 255
            draw(page, bar)
            expect(page.locator("#cards")).not_to_have_attribute("aria-busy", "true")
            expect(answer).to_have_text(re.compile("[0-9]|not sure"))
            expect(page.get_by_label("Wrong? It is")).to_have_value("")  # chosen anew each time
            page.get_by_label("Wrong? It is").select_option(taught)
            page.get_by_role("button", name="Teach it").click()
            kept = f"Kept as {taught}, for the next training ({place + 1} in all)."
            expect(page.get_by_text(kept)).to_be_visible()
        old = answer.text_content()
        assert old != taught
        expect(before).to_be_hidden()
        result = train_and_evaluate(
            config_for("logistic", epochs=20, corrections=str(corrections)), tmp_path
        )
        assert result.contract.version == 2
        expect(before).to_have_text(re.compile(rf"Version 1 said {old} \(\d+ %\)\."))
        expect(answer).to_have_text(taught)
        expect(card(page, "logistic").locator(".about")).to_have_text(re.compile("version 2 "))
        expect(page.get_by_text(kept)).to_be_visible()
        page.get_by_role("button", name="Sample 2").click()
        expect(before).to_be_hidden()
