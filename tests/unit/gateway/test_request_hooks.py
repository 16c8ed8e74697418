"""The limit of concurrent requests, and the path prefix of a proxy."""

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from rockstar_serving.gateway.authentication import trusted_addresses
from tests.unit.gateway.conftest import IMAGE, post
from tests.waiting import until

# On the event loop, requests with small bodies run without a thread.
LARGE = IMAGE + bytes(20_000)


def in_flight(app):
    return app.extensions["metrics"].get_sample_value("rockstar_requests_in_flight")


@pytest.fixture
def app(config, server, notes, create_gateway):
    return create_gateway(
        dataclasses.replace(config, threads=1, queue=1), server, observers=[notes]
    )


@pytest.fixture
def full(app, server):
    """An application with one running and one waiting request."""
    server.proceed.clear()
    with ThreadPoolExecutor(2) as pool:
        requests = [pool.submit(post, app.test_client(), data=LARGE) for _ in range(2)]
        until(lambda: in_flight(app) == 2 and server.entered)
        yield app
        server.proceed.set()
        assert [request.result(30).status_code for request in requests] == [200, 200]
    assert in_flight(app) == 0


def test_beyond_the_queue_requests_are_refused(full, notes):
    body = io.BytesIO(LARGE)
    response = full.test_client().post("/predict/toy", input_stream=body, content_type="image/png")
    assert response.status_code == 429
    # An event loop needs no thread to receive it.
    assert body.tell() == (0 if isinstance(full, Flask) else len(LARGE))
    assert int(response.headers["Retry-After"]) >= 1
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["request_id"] == response.headers["X-Request-ID"]
    assert notes.refusals == ["queue"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_succeed_when_it_is_full(full, path):
    assert full.test_client().get(path).status_code == 200


def test_time_in_the_queue_counts(app, server, notes):
    server.proceed.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, app.test_client(), data=LARGE)
        until(lambda: server.entered)
        response = post(app.test_client(), data=LARGE, X_Request_Timeout="0.05")
        assert response.status_code == 504
        assert "0.05 s" in response.get_json()["detail"]
        server.proceed.set()
        assert first.result(30).status_code == 200
    assert len(server.batches) == 1


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
def test_trusted_addresses(proxies, address, trusted):
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
        ("/outer, /inner/", "/outer/inner"),  # each proxy adds the prefix that it removed
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


def test_the_prefix_of_other_addresses_is_ignored(server, config, create_gateway):
    http = create_gateway(dataclasses.replace(config, trusted_proxies=("10.0.0.0/8",)), server)
    client = http.test_client()
    assert mounted_at(client, "/ml") == "/"
    assert mounted_at(client, "/ml", environ_overrides={"REMOTE_ADDR": "10.9.9.9"}) == "/ml"
