"""The web page for other sites in docs/clients.md, in a real browser."""

import functools
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import gateway
from tests.end_to_end.heldout import held_out
from tests.http_servers import handled_by
from tests.snippets import snippets


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A site of another origin that serves a folder."""
    handler = functools.partial(Quiet, directory=tmp_path)
    with handled_by(handler) as url:
        yield url


def test_a_page_of_another_site(
    browser: Browser, site: str, trained_models: Any, tmp_path: Path
) -> None:
    files, labels, _ = held_out(trained_models.workdir / "runs" / "cnn-1")
    (tmp_path / "7.png").write_bytes(files[0])
    (html,) = snippets("clients.md", "JavaScript", "html")
    (tmp_path / "predict.mjs").write_text(snippets("clients.md", "JavaScript", "javascript")[0])
    with (
        browser.new_page() as page,
        gateway(trained_models.workdir / "models", cors_origins=(site,)) as url,
    ):
        assert "http://127.0.0.1:8080" in html
        (tmp_path / "index.html").write_text(html.replace("http://127.0.0.1:8080", url))
        page.goto(site)
        page.locator("input").set_input_files(tmp_path / "7.png")
        expect(page.locator("output")).to_contain_text(f"{labels[0]} 0.")
        (tmp_path / "none.png").write_bytes(b"no image")
        page.locator("input").set_input_files(tmp_path / "none.png")
        expect(page.locator("output")).to_contain_text("400: ")
