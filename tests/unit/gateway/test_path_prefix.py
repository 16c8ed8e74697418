"""Where a proxy mounts the gateway, and which proxies may say so."""

import dataclasses

import pytest

from rockstar_serving.gateway.access import trusted_addresses
from rockstar_serving.gateway.app import create_app


@pytest.mark.parametrize(
    ("proxies", "address", "trusted"),
    [
        (("127.0.0.1", "::1"), "127.0.0.1", True),
        (("127.0.0.1", "::1"), "::1", True),
        (("127.0.0.1", "::1"), "::ffff:127.0.0.1", True),
        (("127.0.0.1", "::1"), "127.0.0.2", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "11.1.2.3", False),
        (("10.0.0.0/8",), "fd00::1", False),
        (("10.0.0.0/8", "fd00::/8"), "fd00::1", True),
        (("*",), "203.0.113.9", True),
        ((), "127.0.0.1", False),
        ((), "", True),  # a local socket
        (("127.0.0.1",), "localhost", False),
    ],
)
def test_who_is_trusted(proxies, address, trusted):
    assert trusted_addresses(proxies)(address) == trusted


def mounted_at(http, header: str, path: str = "/openapi.json", **more):
    response = http.get(path, headers={"X-Forwarded-Prefix": header}, **more)
    assert response.status_code == 200
    return response.get_json()["servers"][0]["url"]


@pytest.mark.parametrize(
    ("header", "prefix"),
    [
        ("/ml", "/ml"),
        ("ml/", "/ml"),
        ("/a/b", "/a/b"),
        ("/outer, /inner/", "/outer/inner"),  # each proxy adds what it has removed
        ("/", "/"),
        ("", "/"),
        ("//example.org", "/example.org"),  # no other host
        ("/a\\b", "/"),
        ("/a?b=c", "/"),
        ("/<script>", "/"),
        ("https://example.org", "/"),
    ],
)
def test_prefixes(http, header, prefix):
    assert mounted_at(http, header) == prefix


def test_a_prefix_may_be_in_the_path_or_not(http):
    assert mounted_at(http, "/ml", "/ml/openapi.json") == "/ml"
    assert mounted_at(http, "/predict", "/openapi.json") == "/predict"
    for path in ("/mlx/openapi.json", "/other/openapi.json"):
        assert http.get(path, headers={"X-Forwarded-Prefix": "/ml"}).status_code == 404


@pytest.mark.parametrize("prefix", ["", "/ml"])
@pytest.mark.parametrize("path", ["/v1/models/toy", "/v1/models/toy/metadata", "/v1/models", "/v2/models/toy", "/predict/toy", "/livez", "/static/page.js"])  # fmt: skip
def test_every_route_is_under_it(http, prefix, path):
    headers = {"X-Forwarded-Prefix": "/ml"}
    with http.get(path) as response:
        expected = response.status_code
    with http.get(f"{prefix}{path}", headers=headers) as response:
        assert response.status_code == expected


def test_the_page_without_a_slash_leads_to_the_one_with(http):
    headers = {"X-Forwarded-Prefix": "/ml", "Host": "internal:8080"}
    response = http.get("/ml", headers=headers)
    assert (response.status_code, response.headers["Location"]) == (308, "/ml/")


def test_others_may_not_say_so(server, config):
    http = create_app(dataclasses.replace(config, trusted_proxies=("10.0.0.0/8",)), server)
    client = http.test_client()
    assert mounted_at(client, "/ml") == "/"
    assert mounted_at(client, "/ml", environ_overrides={"REMOTE_ADDR": "10.9.9.9"}) == "/ml"
