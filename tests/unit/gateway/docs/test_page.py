"""`/docs`: what a browser gets; tests/browser looks at it in one."""

import re
from urllib.parse import urljoin

import pytest


def test_the_page_and_all_that_it_names_come_from_here(http):
    page = http.get("/docs")
    assert page.mimetype == "text/html"
    named = re.findall(r'(?:src|href|data-document)="([^"]+)"', page.text)
    assert len(named) >= 5
    for path in named:
        response = http.get(urljoin("/docs", path))
        assert response.status_code == 200, path
        response.close()


def test_it_allows_nothing_inline_and_nothing_from_elsewhere(http):
    page = http.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r"<script>|<style|style=|onload=", page.text)
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("page", ["/docs", "/"])
def test_it_works_wherever_a_proxy_mounts_the_gateway(http, page):
    """Relative links also work behind a proxy that does not say where that is."""
    links = r'(?:src|href|data-document)="([^"]+)"'
    named = re.findall(links, http.get(page).text)
    assert len(named) >= 4
    told = http.get(page, headers={"X-Forwarded-Prefix": "/a/b"})
    assert re.findall(links, told.text) == [f"/a/b/{path}" for path in named]


def test_swagger_ui_is_one_that_reads_openapi_3_1(http):
    with http.get("/docs/swagger-ui/swagger-ui-bundle.js") as response:
        assert response.mimetype == "text/javascript"
        assert b"openapi31" in response.data.lower() or b"OpenApi31" in response.data


@pytest.mark.parametrize("name", ["index.html", "LICENSE", "..%2f__init__.py", "../__init__.py"])
def test_other_files_of_its_package_are_not_served(http, name):
    assert http.get(f"/docs/swagger-ui/{name}").status_code == 404
