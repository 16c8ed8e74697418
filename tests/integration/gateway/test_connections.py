"""Connections: pieces, pipelining, slow and silent clients, large bodies, limits, proxies."""

import base64
import gzip
import hashlib
import io
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from itertools import product
from typing import Self

import numpy as np
import pytest
import requests
from PIL import Image

from tests.images import png
from tests.integration.gateway.conftest import IMAGE, Gateway, running, serving_toy, total
from tests.waiting import until

LARGE = png(np.zeros((900, 900), np.uint8), compress_level=0)
# An event loop takes smaller requests without a thread, up to a limit of its own.
BULKY = IMAGE + bytes(20_000)


@pytest.fixture
def start(start_gateway) -> Callable[..., Gateway]:
    return partial(start_gateway, "--workers=1")


@pytest.fixture(scope="module")
def gateway(host, tmp_path_factory) -> Iterator[Gateway]:
    """One for all tests that leave it as it was."""
    options = ("--model=toy", "--workers=1", "--upload-timeout=1", "--keep-alive=1")
    log = tmp_path_factory.mktemp("gateway") / "log"
    with serving_toy() as server, running(server.port, log, *options, server=host) as gateway:
        yield gateway


class Connection:
    """A connection for raw bytes."""

    def __init__(self, gateway: Gateway) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
        self.send = self.socket.sendall
        # http.client would close the file after one response.
        self._file = self.socket.makefile("rb")
        self._close = self._file.close
        self._file.close = lambda: None  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.socket.close()

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self._file

    def response(self) -> tuple[int, bytes]:
        """Status and body of the next response."""
        response = HTTPResponse(self, method="POST")  # type: ignore[arg-type]
        response.begin()
        return response.status, response.read()

    def statuses(self, count: int) -> list[int]:
        """The statuses of the next responses."""
        return [self.response()[0] for _ in range(count)]


def request(body: bytes = IMAGE, *headers: str, content_type: str = "image/png") -> bytes:
    lines = ["POST /predict/toy HTTP/1.1", "Host: here", f"Content-Type: {content_type}"]
    lines += [f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def connection(gateway) -> Iterator[Connection]:
    with Connection(gateway) as connection:
        yield connection


@pytest.mark.parametrize("cut", [1, 20, 60, len(request()) - len(IMAGE), len(request()) - 1])
def test_a_request_in_pieces(connection, gateway, cut):
    """Check that the worker handles other requests meanwhile."""
    whole = request()
    connection.send(whole[:cut])
    assert gateway.predict().ok
    connection.send(whole[cut:])
    assert connection.statuses(1) == [200]
    connection.send(whole)
    assert connection.statuses(1) == [200]


def test_pipelined_requests(connection):
    whole = request()
    connection.send(whole + request(b"no image") + whole + whole[:30])
    assert connection.statuses(3) == [200, 400, 200]
    connection.send(whole[30:])
    assert connection.statuses(1) == [200]


def test_expect_100_continue(connection):
    head, _, body = request(IMAGE, "Expect: 100-continue").partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(body)
    assert connection.statuses(1) == [200]


def test_a_client_that_leaves_early_affects_no_other(start, toy_server):
    gateway = start()
    toy_server.proceed.clear()
    with Connection(gateway) as gone:
        gone.send(request())
        until(lambda: toy_server.predictions)
    toy_server.proceed.set()
    assert gateway.predict().ok


@pytest.fixture
def narrow(monkeypatch) -> None:
    """Connections for which the kernel buffers little unread data."""

    def create_server(*arguments, **options) -> socket.socket:
        listener = create(*arguments, **options)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
        return listener

    create = socket.create_server
    monkeypatch.setattr(socket, "create_server", create_server)


@pytest.mark.usefixtures("narrow")
def test_a_client_that_reads_late_gets_all_of_a_long_response(start):
    gateway = start("--max-instances=20000")
    good = np.zeros((8, 8, 1)).tolist()
    # Each invalid request is much shorter than its error.
    body = json.dumps({"instances": [good] + [""] * 19_900}, separators=(",", ":")).encode()
    whole = request(body, content_type="application/json")
    with Connection(gateway) as connection:
        connection.send(whole.replace(b"/toy", b"/toy?partial=true"))
        until(lambda: total(gateway, "rockstar_requests_total", status="200"))
        for _ in range(10):
            assert gateway.predict().ok
        status, answer = connection.response()
        assert (status, len(json.loads(answer)["predictions"])) == (200, 19_901)
        connection.send(request())
        assert connection.statuses(1) == [200]


def test_requests_beyond_the_limits_get_429_and_probes_do_not(start, toy_server):
    gateway = start("--threads=1", "--queue=3")
    toy_server.proceed.clear()
    with ThreadPoolExecutor(8) as pool:
        taken = [pool.submit(gateway.predict, BULKY) for _ in range(4)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 4)
        refused = [gateway.predict(BULKY) for _ in range(5)]
        for each in refused:
            assert (each.status_code, each.json()["status"]) == (429, 429)
            assert each.headers["Retry-After"]
            assert each.json()["request_id"] == each.headers["X-Request-ID"]
        assert len({each.headers["X-Request-ID"] for each in refused}) == 5
        until(lambda: total(gateway, "rockstar_refused_total", reason="queue") == 5)
        assert requests.get(f"{gateway.url}/livez", timeout=20).ok
        toy_server.proceed.set()
        assert [each.result().status_code for each in taken] == [200] * 4


def test_slow_clients_do_not_keep_others_out(start):
    """More than gunicorn has threads for: silent ones, and within headers and bodies."""
    gateway = start("--threads=2", "--queue=2")
    headers, body = b"GET /livez HTTP/1.1\r\nX-Slow: ", request(bytes(100_000))[:-99_000]
    for beginning in (b"", headers, body):
        with ExitStack() as stack:
            slow = [
                stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
                for _ in range(600)
            ]
            for client in slow:
                client.sendall(beginning)
            for _ in range(5):
                for client in slow:
                    with suppress(OSError):  # ended by the server
                        client.sendall(b"x" if beginning else b"")
                assert requests.get(f"{gateway.url}/livez", timeout=4).ok
            until(lambda: gateway.predict().ok)


def test_headers_that_never_end_are_cut_off(start):
    gateway = start("--keep-alive=1")
    with Connection(gateway) as slow:
        slow.send(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        slow.socket.settimeout(0.1)

        def is_cut_off() -> bool:
            try:
                slow.send(b"x")
                return not slow.socket.recv(1)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(is_cut_off)


def test_an_upload_counts_as_in_flight_once_it_has_arrived_or_is_large(start, host):
    gateway = start("--threads=1", "--queue=0")
    with Connection(gateway) as small, Connection(gateway) as large:
        small.send(request(BULKY)[:-1])
        assert gateway.predict(BULKY).ok
        whole = request(bytes(2**21))
        large.send(whole[:1000])
        assert gateway.predict(BULKY).ok
        large.send(whole[1000:-1])
        if host == "gunicorn":
            until(lambda: total(gateway, "rockstar_requests_in_flight") == 1)
            assert gateway.predict(BULKY).status_code == 429
            small.send(request(BULKY)[-1:])
            assert small.statuses(1) == [429]
        else:  # No thread receives it.
            assert gateway.predict(BULKY).ok
            small.send(request(BULKY)[-1:])
            assert small.statuses(1) == [200]
        large.send(whole[-1:])
        assert large.statuses(1) == [400]
        until(lambda: gateway.predict(BULKY).ok)


@pytest.mark.parametrize(
    ("data", "status"), [(request(IMAGE, "Connection: close"), 200), (b"GARBAGE\r\n\r\n", 400)]
)
def test_clients_that_do_not_close_their_side_do_not_block_probes(gateway, data, status):
    with ExitStack() as stack:
        clients = [stack.enter_context(Connection(gateway)) for _ in range(20)]
        for client in clients:
            client.send(data)
        assert [client.statuses(1) for client in clients] == [[status]] * 20
        assert requests.get(f"{gateway.url}/livez", timeout=10).ok


def test_an_upload_that_takes_too_long_gets_408(start):
    gateway = start("--threads=1", "--queue=0", "--upload-timeout=1")
    sized = b"Content-Length: 100000"
    for header, piece in (
        (sized, b"x"),
        (b"Transfer-Encoding: chunked", b"1\r\nx\r\n"),
        (sized, b""),
    ):
        head = request(b"").replace(b"Content-Length: 0", header)
        with socket.create_connection(("127.0.0.1", gateway.port)) as slow:
            slow.sendall(head)
            slow.settimeout(0.1)
            answer = b""
            for _ in range(300):
                slow.sendall(piece)
                with suppress(TimeoutError):
                    answer = slow.recv(65536)
                    break
            slow.settimeout(30)
            answer += slow.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408 "), (header, piece)
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert b"The body did not arrive within 1 s." in answer
        assert gateway.predict().ok


def test_the_deadline_begins_when_the_body_has_arrived(start):
    with Connection(start("--upload-timeout=30")) as connection:
        began = time.monotonic()
        connection.send(request(IMAGE, "X-Request-Timeout: 3")[: -len(IMAGE)])
        until(lambda: time.monotonic() > began + 3.2)
        connection.send(IMAGE)
        assert connection.statuses(1) == [200]


@pytest.fixture
def client(gateway) -> Iterator[HTTPConnection]:
    client = HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    yield client
    client.close()


def is_closed(client: HTTPConnection) -> bool:
    """Wait until the server closes a connection; fail after its timeout."""
    return client.sock is None or client.sock.recv(1) == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nothing", 404),
        ("PUT", "/predict/toy", 405),
        ("POST", "/predict/toy?top=0", 400),
        ("POST", "/v1/models/toy:nothing", 400),
    ],
)
def test_a_large_body_that_is_not_read_ends_the_connection(client, host, method, path, status):
    client.request(method, path, bytes(500_000), {"Content-Type": "image/png"})
    response = client.getresponse()
    # The event loop receives bodies up to the limit.
    assert (response.status, response.will_close) == (status, host == "gunicorn")
    response.read()
    assert is_closed(client)


def test_a_body_above_the_limit(start):
    gateway = start("--max-body-bytes=1000000")
    body = bytes(1_000_001)
    for data in (body, iter([body])):  # an iterator is sent in chunks
        response = gateway.predict(data)
        assert response.status_code == 413
        assert response.json()["expected"] == "at most 1,000,000 bytes"


def send_with_http_client(url: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    client = HTTPConnection(url.removeprefix("http://"), timeout=30)
    client.request("POST", path, body, headers)
    status = client.getresponse().status
    client.close()
    return status


def send_with_requests(url: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    return requests.post(f"{url}{path}", body, headers=headers, timeout=30).status_code


def send_with_curl(url: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    command = ["curl", "-sS", "--write-out", "\n%{http_code}", "--data-binary", "@-", url + path]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(command, input=body, capture_output=True, check=True)
    return int(done.stdout.rpartition(b"\n")[2])


def test_clients_get_the_response_to_a_large_upload_that_is_rejected(start, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(
        f"[keys.alice]\nsha256 = '{hashlib.sha256(b'free').hexdigest()}'\n"
        f"[keys.bob]\nsha256 = '{hashlib.sha256(b'used').hexdigest()}'\nrate = '1/day'\n"
    )
    gateway = start("--max-body-bytes=1000000", f"--api-keys-file={keys}")
    assert gateway.predict(**{"X-API-Key": "used"}).ok
    body = bytes(5_000_000)
    senders = (send_with_http_client, send_with_requests, send_with_curl)
    for path, send in product(("/predict/toy", "/explain/toy"), senders):
        for key, status in (("none", 401), ("used", 429), ("free", 413)):
            headers = {"Content-Type": "image/png", "X-API-Key": key}
            assert send(gateway.url, path, body, headers) == status, (path, send)


def test_other_bodies_keep_the_connection(client):
    for path, data, status in [
        ("/nothing", IMAGE, 404),
        ("/predict/toy", IMAGE, 200),
        ("/predict/toy", LARGE, 200),
        ("/predict/toy", bytes(500_000), 400),
        ("/predict/toy", LARGE, 200),
    ]:
        client.request("POST", path, data, {"Content-Type": "image/png"})
        response = client.getresponse()
        assert (response.status, response.will_close) == (status, False)
        response.read()
    # Until the idle timeout.
    assert is_closed(client)


@pytest.mark.parametrize("data", [IMAGE, LARGE])
def test_forms_and_compressed_bodies_of_any_size(gateway, data):
    plain = gateway.predict(data)
    url = f"{gateway.url}/predict/toy"
    form = requests.post(url, files={"image": ("größe.png", data)}, timeout=30)
    packed = gateway.predict(gzip.compress(data), **{"Content-Encoding": "gzip"})
    assert plain.status_code == 200
    assert plain.json() == form.json() == packed.json()


def test_a_proxy_may_mount_it_under_a_path(gateway, start):
    elsewhere = start("--trusted-proxies=10.0.0.0/8")
    for header in ("X-Forwarded-Prefix", "SCRIPT_NAME"):
        prefix = {header: "/ml"}
        # Some proxies remove the prefix, some do not.
        for path in ("/ml/predict/toy", "/predict/toy"):
            assert gateway.predict(path=path, **prefix).ok
        for path in ("/ml/v1/models/toy", "/v1/models/toy"):
            assert requests.get(f"{gateway.url}{path}", headers=prefix, timeout=30).ok
        document = requests.get(f"{gateway.url}/openapi.json", headers=prefix, timeout=30)
        assert document.json()["servers"] == [{"url": "/ml"}]
        page = requests.get(f"{gateway.url}/ml", headers=prefix, timeout=30, allow_redirects=False)
        assert page.headers["Location"] == "/ml/"
        assert elsewhere.predict(path="/ml/predict/toy", **prefix).status_code == 404
    assert gateway.predict(**{"X-Forwarded-Prefix": "/ml", "SCRIPT_NAME": "/other"}).ok


def many_scans(more: int) -> bytes:
    """A progressive JPEG that repeats its last scan: few bytes, slow to decode."""
    content = io.BytesIO()
    Image.new("L", (1024, 1024), 128).save(content, "JPEG", progressive=True)
    data = content.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * more + data[-2:]


def instances(count: int) -> bytes:
    image = {"b64": base64.b64encode(IMAGE).decode()}
    return json.dumps({"instances": [image] * count}).encode()


def test_expensive_requests_do_not_block_others(start):
    gateway = start()
    for path, body, content_type in (
        ("/predict/toy", many_scans(80), "image/jpeg"),
        ("/predict/toy", instances(256), "application/json"),
        ("/explain/toy", LARGE, "image/png"),
    ):
        with ThreadPoolExecutor(4) as pool:
            headers = {"Content-Type": content_type}
            slow = [pool.submit(gateway.predict, body, path=path, **headers) for _ in range(12)]
            assert gateway.predict().ok
            assert requests.get(f"{gateway.url}/livez", timeout=20).ok
            assert not all(each.done() for each in slow), content_type
            assert [each.result().status_code for each in slow] == [200] * 12
