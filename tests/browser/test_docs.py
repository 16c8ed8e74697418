"""Swagger UI at `/docs`, in a real browser."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from rockstar_serving.gateway.app import create_app
from tests.browser.conftest import checked_page
from tests.http_servers import application
from tests.images import png, stroke
from tests.unit.gateway.conftest import LIMITED, FakeServer


@pytest.fixture(scope="module", params=["", "/ml"])
def docs_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a gateway with a fake model server.

    It is mounted as behind a proxy that removes the prefix without a header for it.
    """
    app = create_app(LIMITED, FakeServer())

    def mounted(environ: Any, start_response: Any) -> Any:
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(request.param)
        return app(environ, start_response)

    with application(mounted) as url:
        yield f"{url}{request.param}"


@pytest.fixture
def docs(browser: Browser, docs_url: str) -> Iterator[Page]:
    """The loaded page."""
    with checked_page(browser, docs_url) as page:
        complaints: list[str] = []
        # Among them violations of the Content-Security-Policy.
        page.on(
            "console", lambda said: complaints.append(said.text) if said.type == "error" else None
        )
        with page.expect_request(f"{docs_url}/openapi.json"):
            page.goto(f"{docs_url}/docs")
        page.get_by_role("heading", name="RockstarTF gateway").wait_for()
        yield page
    assert not complaints


def operation(page: Page, name: str) -> Locator:
    return page.locator(f"[id$='-{name}'].opblock")


def opened(page: Page, name: str) -> Locator:
    found = operation(page, name)
    found.locator(".opblock-summary-control").click()
    return found


def execute(found: Locator) -> Locator:
    """Send the request; return the element of the response."""
    with found.page.expect_response(lambda response: response.request.method == "POST"):
        found.get_by_role("button", name="Execute").click()
    answer = found.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_have_text("200")
    return answer


def test_requests_are_sent_and_responses_shown(docs: Page) -> None:
    for name in ("predict", "explain", "listModels", "modelInfer", "metrics", "ready"):
        expect(operation(docs, name)).to_be_visible()
    predict = opened(docs, "predict")
    expect(predict.get_by_role("combobox").first.locator("option")).to_have_text(LIMITED.models)
    expect(execute(predict)).to_contain_text('"model": "toy"')
    for name, media_type in (("predict", "multipart/form-data"), ("explain", "image/png")):
        found = predict if name == "predict" else opened(docs, name)
        found.get_by_label("Request content type").select_option(media_type)
        found.locator("input[type=file]").set_input_files(
            {"name": "seven.png", "mimeType": "image/png", "buffer": png(stroke())}
        )
        expect(execute(found)).to_contain_text('"model": "toy"')
