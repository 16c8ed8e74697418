"""The page at `/` with models that also run in the browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from rockstar_serving.gateway.pages import litert_version
from tests.shared_data import shared_data

if not litert_version():
    pytest.skip("no LiteRT for browsers: make litert-web (needs npm)", allow_module_level=True)


def card(page: Page, model: str):
    return page.locator("article", has=page.get_by_role("heading", name=model, exact=True))


def test_server_and_browser_predict_the_same(page: Page) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    page.get_by_role("button", name="Sample 2").click()
    expect(card(page, "cnn").locator(".answer")).to_have_text("2")
    assert not [url for url in loaded if "/litert/" in url or "/edge/" in url]
    page.get_by_label("Predict in this browser").check()
    both = re.compile(r"^server: 2 \(\d+ ms\), this browser: 2 \(\d+ ms\)$")
    for model in ("logistic", "mlp", "cnn"):
        expect(card(page, model).get_by_text(both)).to_be_visible()
    # An image from a file, too; then only the server again.
    path = sorted((shared_data("digits-png") / "0").iterdir())[0]
    page.get_by_label("Choose an image").set_input_files(path)
    expect(card(page, "cnn").get_by_text("this browser: 0")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(card(page, "cnn").get_by_text("this browser")).to_be_hidden()
    page.get_by_label("Predict in this browser").uncheck()
    page.get_by_role("button", name="Sample 3").click()
    expect(card(page, "cnn").locator(".answer")).to_have_text("3")
    expect(card(page, "cnn").get_by_text("this browser")).to_be_hidden()


def test_a_model_that_does_not_load_is_explained(page: Page) -> None:
    problem = '{"detail": "This gateway has no edge.tflite of mlp version 1."}'
    page.route("**/edge/mlp?*", lambda route: route.fulfill(status=404, body=problem))
    page.get_by_label("Predict in this browser").check()
    page.get_by_role("button", name="Sample 2").click()
    expect(
        card(page, "mlp").get_by_text("this browser: This gateway has no edge.tflite")
    ).to_be_visible()
    expect(card(page, "cnn").get_by_text("this browser: 2")).to_be_visible()


def test_a_network_that_fails_is_tried_again(page: Page) -> None:
    page.route("**/litert/**", lambda route: route.abort())
    page.get_by_label("Predict in this browser").check()
    page.get_by_role("button", name="Sample 2").click()
    expect(card(page, "cnn").get_by_text("this browser: Failed to fetch")).to_be_visible()
    page.unroute("**/litert/**")
    page.get_by_role("button", name="Sample 3").click()
    expect(card(page, "cnn").get_by_text("this browser: 3")).to_be_visible()
