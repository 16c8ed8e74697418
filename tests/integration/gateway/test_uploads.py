"""Bodies over real connections: slow, large, compressed, refused, and what comes after them."""

import gzip
import http.client
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest
import requests

from tests.images import png, stroke
from tests.integration.gateway.conftest import Gateway
from tests.waiting import until

IMAGE = png(stroke())
LARGE = png(np.zeros((900, 900), np.uint8), compress_level=0)
HEADERS = {"Content-Type": "image/png"}


@pytest.fixture
def gateway(start_gateway):
    return start_gateway("--workers=1", "--upload-timeout=1", "--keep-alive=1")


def port(gateway: Gateway) -> int:
    return int(gateway.url.rpartition(":")[2])


@pytest.fixture
def connection(gateway) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port(gateway), timeout=30)
    yield connection
    connection.close()


def is_closed(connection: http.client.HTTPConnection) -> bool:
    """Waits for it, or fails after the timeout of the connection."""
    return connection.sock is None or connection.sock.recv(1) == b""


@pytest.mark.parametrize(
    ("header", "piece"),
    [("Content-Length: 100000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")],
)
def test_a_body_that_drips_in_is_given_up(gateway, header, piece):
    head = f"POST /predict/toy HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n{header}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port(gateway))) as slow:
        slow.sendall(head.encode())
        slow.settimeout(0.1)
        answer = b""

        def drip() -> bool:
            nonlocal answer
            slow.sendall(piece)
            try:
                answer = slow.recv(65536)
            except TimeoutError:
                return False
            return True

        until(drip, what="the end of the upload")
        slow.settimeout(30)
        answer += slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert b"The body did not arrive within 1 s." in answer


def test_the_deadline_begins_when_the_body_has_arrived(start_gateway):
    gateway = start_gateway("--workers=1", "--upload-timeout=30")
    head = f"Content-Type: image/png\r\nContent-Length: {len(IMAGE)}\r\nX-Request-Timeout: 3"
    with socket.create_connection(("127.0.0.1", port(gateway))) as slow:
        began = time.monotonic()
        slow.sendall(f"POST /predict/toy HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        until(lambda: time.monotonic() > began + 3.2)
        slow.sendall(IMAGE)
        assert slow.makefile("rb").readline().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("POST", "/nothing", "image/png", 404),
        ("PUT", "/predict/toy", "image/png", 405),
        ("POST", "/predict/toy", "application/xml", 415),
        ("POST", "/predict/toy?top=0", "image/png", 400),
        ("POST", "/v1/models/toy:nothing", "image/png", 400),
    ],
)
def test_who_was_not_heard_to_the_end_is_told_to_connect_anew(
    connection, method, path, kind, status
):
    connection.request(method, path, bytes(500_000), {"Content-Type": kind})
    response = connection.getresponse()
    assert response.status == status
    assert response.headers["Connection"] == "close"
    response.read()
    assert is_closed(connection)


def test_a_small_body_that_is_refused_ends_no_connection(connection):
    for path, status in (("/nothing", 404), ("/predict/toy", 200), ("/nothing", 404)):
        connection.request("POST", path, IMAGE, HEADERS)
        response = connection.getresponse()
        assert response.status == status
        assert response.headers["Connection"] == "keep-alive"
        response.read()


def test_a_large_body_that_was_read_ends_no_connection(connection):
    for data, status in ((LARGE, 200), (bytes(500_000), 400), (LARGE, 200)):
        connection.request("POST", "/predict/toy", data, HEADERS)
        response = connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (status, "keep-alive")
        response.read()


def test_an_idle_connection_is_closed_as_the_settings_say(connection):
    connection.request("POST", "/predict/toy", IMAGE, HEADERS)
    assert connection.getresponse().read()
    assert is_closed(connection)


@pytest.mark.parametrize("data", [IMAGE, LARGE])
def test_forms_and_compressed_bodies_of_any_size(gateway, data):
    url = f"{gateway.url}/predict/toy"
    plain = requests.post(url, data=data, headers=HEADERS, timeout=30)
    form = requests.post(url, files={"image": ("größe.png", data)}, timeout=30)
    headers = HEADERS | {"Content-Encoding": "gzip"}
    packed = requests.post(url, data=gzip.compress(data), headers=headers, timeout=30)
    assert plain.status_code == 200
    assert plain.json() == form.json() == packed.json()


@pytest.mark.parametrize("header", ["X-Forwarded-Prefix", "SCRIPT_NAME"])
def test_a_proxy_may_mount_it_under_a_path(gateway, start_gateway, header):
    headers = HEADERS | {header: "/ml"}
    # Some proxies remove the prefix, some do not.
    for path in ("/ml/predict/toy", "/predict/toy", "/ml/v1/models/toy", "/v1/models/toy"):
        ask = requests.get if path.endswith("models/toy") else requests.post
        assert ask(f"{gateway.url}{path}", data=IMAGE, headers=headers, timeout=30).ok, path
    document = requests.get(f"{gateway.url}/openapi.json", headers=headers, timeout=30)
    assert document.json()["servers"] == [{"url": "/ml"}]
    page = requests.get(f"{gateway.url}/ml", headers=headers, timeout=30, allow_redirects=False)
    assert page.headers["Location"] == "/ml/"

    elsewhere = start_gateway("--workers=1", "--trusted-proxies=10.0.0.0/8")
    url = f"{elsewhere.url}/ml/predict/toy"
    assert requests.post(url, data=IMAGE, headers=headers, timeout=30).status_code == 404
