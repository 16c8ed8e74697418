"""The page that `rockstar export --html` writes, from a file, in a real browser without a network."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import ExifTags, Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from rockstar_cli.transfer import export
from rockstar_contract.contract import CONTRACT_FILE, Contract
from rockstar_contract.inputs import prepare
from rockstar_serving.gateway.pages import litert_version
from rockstar_training.readback import open_edge
from tests.browser.conftest import checked_page
from tests.shared_data import shared_data

if not litert_version():
    pytest.skip("no LiteRT for browsers: make litert-web (needs npm)", allow_module_level=True)

# What a page gets for files, as base64.
PREDICT = """async (files) => {
  const { ready } = await import("standalone.js");
  const { pixelsOf } = await import("browser_model.js");
  const model = await ready;
  const answers = [];
  for (const file of files) {
    const image = new Blob([Uint8Array.from(atob(file), (c) => c.charCodeAt(0))], { type: "image/png" });
    answers.push((await model.predict(await pixelsOf(image), 10)).prediction.top);
  }
  return answers;
}"""


@pytest.fixture(scope="module")
def version(trained_models):
    return trained_models.workdir / "models" / "cnn" / "1"


@pytest.fixture(scope="module")
def file(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported page."""
    file = tmp_path_factory.mktemp("page") / "a demo.html"
    models = str(version.parents[1])
    done = CliRunner().invoke(
        export, ["cnn", "--html", str(file), "--models", models], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"cnn version 1: {file}")
    return file


@pytest.fixture(scope="module")
def opened(browser: Browser, file: Path) -> Iterator[Page]:
    """The page, opened once from the disk without a network."""
    with checked_page(browser, "file:", offline=True) as page:
        page.goto(file.as_uri())
        yield page


@pytest.fixture
def page(opened: Page) -> Page:
    """The page with nothing drawn."""
    opened.get_by_role("button", name="Clear").click()
    expect(opened.get_by_role("status")).to_have_text("Draw something, or choose an image.")
    return opened


def test_it_is_small(file: Path) -> None:
    assert file.stat().st_size < 5_000_000


@pytest.fixture(scope="module")
def probabilities(version: Path):
    """Python's probabilities of the labels for an image file."""
    contract = Contract.from_json((version / CONTRACT_FILE).read_bytes())
    edge = open_edge((version / "edge.tflite").read_bytes())

    def probabilities(file: bytes):
        tensor = prepare(file, contract.encoded, field="image")
        return edge.predictor(tensor[np.newaxis])[0]

    return probabilities


def test_it_predicts_ten_digits(page: Page, probabilities) -> None:
    for digit in "0123456789":
        paths = sorted((shared_data("digits-png") / digit).iterdir())
        # The small model of the tests is not right about all of them.
        path = next(path for path in paths if probabilities(path.read_bytes())[int(digit)] > 0.9)
        page.get_by_label("Choose an image").set_input_files(path)
        expect(page.locator("#answer")).to_have_text(digit)
        expect(page.get_by_role("status")).to_contain_text(f"This device predicts {digit} (")


def test_drawings_and_keys_work(page: Page) -> None:
    page.get_by_role("button", name="Sample 2").click()
    expect(page.locator("#answer")).to_have_text("2")
    expect(page.get_by_label("The image as the model sees it")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer")).to_have_text("–")
    page.get_by_label("Drawing area").focus()
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#answer")).to_have_text("1")


def test_all_digits_get_the_probabilities_of_python(page: Page, probabilities) -> None:
    files = [path.read_bytes() for path in sorted(shared_data("digits-png").rglob("*.png"))]
    answers = page.evaluate(PREDICT, [base64.b64encode(file).decode() for file in files])
    for file, answer in zip(files, answers, strict=True):
        expected = probabilities(file)
        scores = {each["label"]: each["score"] for each in answer}
        assert answer[0]["label"] == str(expected.argmax())
        found = [scores[str(digit)] for digit in range(10)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_other_images_get_the_probabilities_of_python(page: Page, probabilities) -> None:
    photo = on_paper(ink="black", paper="#d2cdbe")
    rotated = Image.Exif()
    rotated[ExifTags.Base.Orientation] = 6
    files = [
        encoded(on_paper(ink="black", paper=(0, 0, 0, 0))),
        encoded(on_paper(ink="white", paper=(255, 255, 255, 0))),
        encoded(on_paper(ink=(200, 30, 30, 128), paper=(0, 0, 0, 0))),
        encoded(on_paper(ink="#fadc28", paper="#14783c").convert("RGB").quantize(8)),
        encoded(photo.convert("L").convert("1"), "GIF"),
        encoded(photo.convert("RGB").rotate(90), "JPEG", exif=rotated),
        encoded(photo.convert("RGB").resize((900, 120)), "BMP"),
        encoded(Image.new("L", (1, 1), 9)),
    ]
    answers = page.evaluate(PREDICT, [base64.b64encode(file).decode() for file in files])
    for file, answer in zip(files, answers, strict=True):
        scores = {each["label"]: each["score"] for each in answer}
        found = [scores[str(digit)] for digit in range(10)]
        # Browsers store the colors of half transparent pixels with fewer bits.
        np.testing.assert_allclose(found, probabilities(file), rtol=0, atol=2e-3)


def on_paper(ink: Any, paper: Any) -> Image.Image:
    """A seven."""
    image = Image.new("RGBA", (200, 200), paper)
    ImageDraw.Draw(image).line([(60, 40), (140, 40), (90, 170)], fill=ink, width=16)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_a_transparent_image_is_an_error(page: Page) -> None:
    file = encoded(on_paper(ink=(0, 0, 0, 0), paper=(255, 255, 255, 0)))
    page.get_by_label("Choose an image").set_input_files(
        {"name": "7.png", "mimeType": "image/png", "buffer": file}
    )
    expect(page.get_by_role("status")).to_have_text(
        re.compile("7.png: the image is fully transparent")
    )


def test_a_file_that_is_no_image_is_an_error(page: Page) -> None:
    page.get_by_label("Choose an image").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}
    )
    expect(page.get_by_role("status")).to_have_text(
        "notes.txt: this browser cannot read it as an image."
    )


def test_it_contains_the_license(page: Page) -> None:
    page.get_by_text("Privacy and license").click()
    expect(page.get_by_text("Apache License")).to_be_visible()
