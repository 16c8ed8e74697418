"""Requests in the pieces and the order in which connections bring them, and silent clients."""

import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.client import HTTPResponse

import numpy as np
import pytest
import requests
from PIL import Image

from tests.images import encoded, png, stroke
from tests.integration.gateway.conftest import Gateway, total
from tests.waiting import until

IMAGE = png(stroke())


@pytest.fixture
def start(start_gateway) -> Callable[..., Gateway]:
    return partial(start_gateway, "--workers=1")


@pytest.fixture
def gateway(start) -> Gateway:
    gateway: Gateway = start()
    return gateway


class Connection:
    """A connection whose bytes are sent as a test wants them."""

    def __init__(self, gateway: Gateway) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port(gateway)), timeout=30)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answers(self, count: int) -> list[int]:
        """The statuses of so many answers, one after the other on the connection."""
        statuses, file = [], self.socket.makefile("rb")
        for _ in range(count):
            response = HTTPResponse(_Rest(file), method="POST")  # type: ignore[arg-type]
            response.begin()
            assert b"predictions" in response.read() or response.status != 200
            statuses.append(response.status)
        return statuses

    def is_at_its_end(self) -> bool:
        return self.socket.recv(1) == b""


class _Rest:
    """What http.client takes for a socket: it would close the file after one answer."""

    def __init__(self, file) -> None:
        self._file = file

    def makefile(self, _mode: str) -> "_Rest":
        return self

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def close(self) -> None:
        """Others read on."""

    def flush(self) -> None:
        """Nothing is written."""


def port(gateway: Gateway) -> int:
    return int(gateway.url.rpartition(":")[2])


def request(body: bytes = IMAGE, *headers: str, content_type: str = "image/png") -> bytes:
    lines = ["POST /predict/toy HTTP/1.1", "Host: here", f"Content-Type: {content_type}"]
    lines += [f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def connection(gateway) -> Iterator[Connection]:
    connection = Connection(gateway)
    yield connection
    connection.socket.close()


def test_one_after_the_other(connection):
    for _ in range(3):
        connection.send(request())
        assert connection.answers(1) == [200]


def test_each_head_counts_also_where_it_is_like_the_one_before(connection):
    """The length, the path, the argument, the type and the id of a request are its own."""
    array = json.dumps({"instances": [np.zeros((8, 8, 1)).tolist()]}).encode()
    first = request(IMAGE, "X-Request-ID: first")
    asked = [
        (first, 200, "first", 3),
        (request(b"no image", "X-Request-ID: first"), 400, "first", 0),
        (first, 200, "first", 3),
        (first.replace(b"/toy", b"/toy?top=1"), 200, "first", 1),
        *[(first.replace(b"/toy ", b"/toy/none "), 404, "first", 0)] * 2,
        (first.replace(b"first", b"other"), 200, "other", 3),
        (request(array, "X-Request-ID: first"), 400, "first", 0),
        (request(array, "X-Request-ID: a", content_type="application/json"), 200, "a", 3),
        (first, 200, "first", 3),
    ]
    for data, status, request_id, top in asked:
        connection.send(data)
        response = HTTPResponse(connection.socket, method="POST")
        response.begin()
        assert (response.status, response.headers["X-Request-ID"]) == (status, request_id)
        answer = json.loads(response.read())
        if status == 200:
            assert len(answer["predictions"][0]["top"]) == top


@pytest.mark.parametrize("cut", [1, 20, 60, len(request()) - len(IMAGE), len(request()) - 1])
def test_in_pieces(connection, gateway, cut):
    """The worker goes on with others meanwhile."""
    whole = request()
    connection.send(whole[:cut])
    assert requests.post(f"{gateway.url}/predict/toy", IMAGE, headers=PNG, timeout=30).ok
    connection.send(whole[cut:])
    assert connection.answers(1) == [200]
    connection.send(whole)
    assert connection.answers(1) == [200]


PNG = {"Content-Type": "image/png"}


def test_several_at_once_on_a_connection(connection):
    bad = request(b"no image")
    connection.send(request() + bad + request())
    assert connection.answers(3) == [200, 400, 200]


def test_one_and_a_part_of_the_next(connection):
    whole = request()
    connection.send(whole + whole[:30])
    assert connection.answers(1) == [200]
    connection.send(whole[30:])
    assert connection.answers(1) == [200]


def test_the_end_when_it_is_asked_for(connection):
    connection.send(request(IMAGE, "Connection: close"))
    assert connection.answers(1) == [200]
    assert connection.is_at_its_end()


def test_a_body_in_chunks(connection):
    head = request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    connection.send(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(IMAGE), IMAGE))
    assert connection.answers(1) == [200]


@pytest.mark.parametrize("size", [b"zz", b"-5", b"0x7c"])
def test_a_body_in_chunks_of_no_size(connection, size):
    head = request(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    connection.send(head + size + b"\r\n" + IMAGE)
    response = HTTPResponse(connection.socket, method="POST")
    response.begin()
    assert response.status == 400
    assert json.loads(response.read())["field"] == "body"


def test_a_body_that_waits_to_be_wanted(connection):
    head, _, body = request(IMAGE, "Expect: 100-continue").partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(body)
    assert connection.answers(1) == [200]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Length: 5", 400),
        ("Bad header", 400),
        ("Transfer-Encoding: chunked", 400),
        ("X-Request-Timeout: soon", 400),
    ],
)
def test_what_is_wrong_is_said(connection, header, status):
    connection.send(request(IMAGE, header))
    response = HTTPResponse(connection.socket, method="POST")
    response.begin()
    assert response.status == status


def test_a_client_that_leaves_before_its_answer_disturbs_nobody(gateway, toy_server):
    toy_server.proceed.clear()
    gone = Connection(gateway)
    gone.send(request())
    until(lambda: toy_server.predictions)
    gone.socket.close()
    toy_server.proceed.set()
    assert requests.post(f"{gateway.url}/predict/toy", IMAGE, headers=PNG, timeout=30).ok


@pytest.fixture
def narrow(monkeypatch) -> None:
    """Connections whose kernel takes little before the other side reads."""

    def create_server(*arguments, **options) -> socket.socket:
        listener = create(*arguments, **options)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
        return listener

    create = socket.create_server
    monkeypatch.setattr(socket, "create_server", create_server)


@pytest.mark.usefixtures("narrow")
def test_a_client_that_reads_late_gets_all_of_a_long_answer(start):
    gateway = start("--max-instances=20000")
    good = np.zeros((8, 8, 1)).tolist()
    # What is wrong with each takes a hundred times as long to say.
    body = json.dumps({"instances": [good] + [""] * 19_900}, separators=(",", ":")).encode()
    asked = request(body, content_type="application/json")
    connection = Connection(gateway)
    connection.send(asked.replace(b"/toy", b"/toy?partial=true"))
    until(lambda: total(gateway, "rockstar_requests_total", status="200"))
    # Others are answered while it does not read.
    for _ in range(10):
        assert requests.post(f"{gateway.url}/predict/toy", IMAGE, headers=PNG, timeout=30).ok
    assert connection.answers(1) == [200]
    connection.send(request())
    assert connection.answers(1) == [200]
    connection.socket.close()


def test_large_images_and_small_ones_side_by_side(gateway):
    large = encoded(np.zeros((2000, 2000), np.uint8), "PNG")

    def post(image: bytes) -> int:
        url = f"{gateway.url}/predict/toy"
        return requests.post(url, image, headers=PNG, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(post, [large, IMAGE] * 20)) == {200}


def test_probes_are_answered_while_a_model_is_slow(gateway, toy_server):
    toy_server.proceed.clear()
    with ThreadPoolExecutor(8) as pool:
        url = f"{gateway.url}/predict/toy"
        slow = [pool.submit(requests.post, url, IMAGE, headers=PNG, timeout=30) for _ in range(8)]
        until(lambda: toy_server.predictions)
        assert requests.get(f"{gateway.url}/livez", timeout=20).ok
        toy_server.proceed.set()
        assert [each.result().status_code for each in slow] == [200] * 8


def test_more_than_it_takes_are_refused(start, toy_server):
    gateway = start("--threads=1", "--queue=3")
    toy_server.proceed.clear()
    url = f"{gateway.url}/predict/toy"
    with ThreadPoolExecutor(8) as pool:
        taken = [pool.submit(requests.post, url, IMAGE, headers=PNG, timeout=30) for _ in range(4)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 4)
        refused = [requests.post(url, IMAGE, headers=PNG, timeout=30) for _ in range(5)]
        for each in refused:
            assert (each.status_code, each.json()["status"]) == (429, 429)
            assert each.headers["Retry-After"]
            assert each.json()["request_id"] == each.headers["X-Request-ID"]
        assert len({each.headers["X-Request-ID"] for each in refused}) == 5
        until(lambda: total(gateway, "rockstar_refused_total", reason="queue") == 5)
        toy_server.proceed.set()
        assert [each.result().status_code for each in taken] == [200] * 4


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nX-Slow: ",
        request(bytes(100_000))[:-99_000],
    ],
    ids=["silent", "headers", "body"],
)
def test_slow_clients_do_not_block_probes(gateway, beginning):
    with ExitStack() as stack:
        for _ in range(200):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port(gateway))))
            slow.sendall(beginning)
        for _ in range(5):
            assert requests.get(f"{gateway.url}/livez", timeout=4).ok


def test_clients_that_do_not_close_their_side_do_not_block_probes(gateway):
    with ExitStack() as stack:
        clients = [Connection(gateway) for _ in range(20)]
        for client in clients:
            stack.callback(client.socket.close)
            client.send(request(IMAGE, "Connection: close"))
        assert [client.answers(1) for client in clients] == [[200]] * 20
        assert requests.get(f"{gateway.url}/livez", timeout=10).ok


MALFORMED = [
    (b"no request\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n\r\n", 400),
    (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9000), 414),
    (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    (b"POST /predict/toy HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
    (b"POST /predict/toy HTTP/1.1\r\nB@d: 1\r\nContent-Length: 1\r\n\r\n1", 400),
    (b"POST /predict/toy HTTP/1.1\r\nTransfer-Encoding: lzw\r\n\r\n", 501),
]


def test_malformed_requests_are_rejected(gateway):
    for data, status in MALFORMED:
        with socket.create_connection(("127.0.0.1", port(gateway)), timeout=30) as client:
            client.sendall(data)
            answer = b"".join(iter(lambda client=client: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert b"\r\nConnection: close\r\n" in answer


def many_scans(more: int) -> bytes:
    """A progressive JPEG that repeats its last scan: much decoding in few bytes."""
    content = io.BytesIO()
    Image.new("L", (1024, 1024), 128).save(content, "JPEG", progressive=True)
    data = content.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * more + data[-2:]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (many_scans(80), "image/jpeg"),
        (
            json.dumps({"instances": [{"b64": base64.b64encode(IMAGE).decode()}] * 200}).encode(),
            "application/json",
        ),
    ],
)
def test_what_takes_long_holds_up_nobody(gateway, toy_server, body, content_type):
    """While the first are being prepared, others are answered."""
    headers = {"Content-Type": content_type}
    url = f"{gateway.url}/predict/toy"
    with ThreadPoolExecutor(4) as pool:
        slow = [
            pool.submit(requests.post, url, body, headers=headers, timeout=60) for _ in range(4)
        ]
        quick = 0
        while not all(each.done() for each in slow):
            assert requests.post(url, IMAGE, headers=PNG, timeout=30).ok
            quick += 1
        assert [each.result().status_code for each in slow] == [200] * 4
    assert quick > 1
