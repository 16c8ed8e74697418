"""REST as HTTP: requests of clients, proxies and browsers over a real socket."""

import gzip
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from rockstar_serving.model_server.options import GrpcOptions, RestOptions
from tests.integration.model_server.conftest import fake_server

LIMIT = 2_000_000
PATH = "/v1/models/m:predict"
BODY = b'{"instances": [[1, 2]]}'
ANSWER = {"predictions": [[2, 4]]}
TOO_LARGE = (
    f"the body is longer than {LIMIT} bytes: send fewer instances at once, or start the server "
    "with a larger --rest_api_max_body_bytes"
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, rest = tmp_path_factory.mktemp("models"), RestOptions(max_body_bytes=LIMIT)
    with fake_server(folder, grpc=GrpcOptions(port=None), rest=rest) as server:
        yield server.rest_port or 0


@pytest.fixture
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    yield connection
    connection.close()


@pytest.fixture
def raw(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        yield raw


def answer(raw: socket.socket) -> tuple[int, Any, http.client.HTTPResponse]:
    """Status and JSON of the next response."""
    response = http.client.HTTPResponse(raw)
    response.begin()
    text = response.read()
    assert response.getheader("Content-Type") == "application/json"
    return response.status, json.loads(text), response


def request(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "Host: x", "", ""]).encode("latin-1") + body


def test_a_connection_is_kept(connection: http.client.HTTPConnection) -> None:
    sockets = set()
    for body in (BODY, b"{", gzip.compress(BODY), BODY):
        encoding = {"Content-Encoding": "gzip"} if body[:1] == b"\x1f" else {}
        connection.request("POST", PATH, body, encoding)
        response = connection.getresponse()
        assert json.loads(response.read()).keys() <= {"predictions", "error"}
        assert response.status == (400 if body == b"{" else 200)
        sockets.add(connection.sock)
    assert len(sockets) == 1


def test_pipelined_requests_get_responses_in_order(raw: socket.socket) -> None:
    length = f"Content-Length: {len(BODY)}"
    one = request(f"POST {PATH} HTTP/1.1", length, body=BODY)
    other = request("GET /v1/models/x HTTP/1.1")
    raw.sendall(one + other + one)
    file = raw.makefile("rb")
    statuses = []
    for _ in range(3):
        statuses.append(int(file.readline().split()[1]))
        headers = http.client.parse_headers(file)
        file.read(int(headers["Content-Length"]))
    assert statuses == [200, 404, 200]


def test_a_body_in_chunks(connection: http.client.HTTPConnection) -> None:
    chunks = (BODY[start : start + 5] for start in range(0, len(BODY), 5))
    connection.request("POST", PATH, chunks, encode_chunked=True)
    assert json.loads(connection.getresponse().read()) == ANSWER


def test_a_client_that_waits_for_continue(raw: socket.socket) -> None:
    raw.sendall(
        request(f"POST {PATH} HTTP/1.1", "Expect: 100-continue", f"Content-Length: {len(BODY)}")
    )
    assert raw.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.sendall(BODY)
    assert answer(raw)[:2] == (200, ANSWER)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([f"POST {PATH} HTTP/1.1", "Expect: 100-continue", "Content-Length: 0"], 400),
        ([f"POST {PATH} HTTP/1.1", "Expect: 100-continue"], 400),
        (["GET /v1/models/m HTTP/1.1", "Expect: 100-continue"], 200),
    ],
)
def test_a_client_that_waits_for_continue_and_has_no_body(
    raw: socket.socket, lines: list[str], status: int
) -> None:
    raw.sendall(request(*lines))
    assert answer(raw)[0] == status


def test_head(connection: http.client.HTTPConnection) -> None:
    connection.request("HEAD", "/v1/models/m")
    response = connection.getresponse()
    assert (response.status, response.read()) == (400, b"")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_uri_that_names_the_host(raw: socket.socket, version: str) -> None:
    raw.sendall(request(f"GET http://x/v1/models/m HTTP/{version}"))
    status, document, _ = answer(raw)
    assert (status, list(document)) == (200, ["model_version_status"])


@pytest.mark.parametrize(
    ("lines", "status", "error"),
    [
        (["nonsense"], 400, "Bad Request: "),
        ([f"POST {PATH} HTTP/1.1", "Content-Length: x"], 400, "Bad Request: "),
        ([f"POST {PATH} HTTP/1.1", "no header"], 400, "Bad Request: "),
        ([f"POST {PATH} HTTP/1.1", "Transfer-Encoding: br"], 400, "Bad Request: "),
        ([f"GET /{'x' * 600_000} HTTP/1.1"], 431, "Request Header Fields Too Large: exceeds"),
        (["BREW /v1/models/m HTTP/1.1"], 400, "Bad Request: "),
        (["GET / HTTP/1.1"], 404, "Not found: GET /"),
        (["PUT /v1/models/m HTTP/1.1"], 400, "Malformed request: PUT /v1/models/m"),
        (["OPTIONS * HTTP/1.1"], 404, "Not found: OPTIONS *"),
        ([f"POST {PATH} HTTP/1.1", f"Content-Length: {LIMIT + 1}"], 413, TOO_LARGE),
        (
            [f"POST {PATH} HTTP/1.1", "Expect: 100-continue", f"Content-Length: {LIMIT + 1}"],
            413,
            TOO_LARGE,
        ),
    ],
    ids=map(str, range(11)),
)
def test_all_errors_are_json(raw: socket.socket, lines: list[str], status: int, error: str) -> None:
    raw.sendall(request(*lines))
    got, document, _ = answer(raw)
    assert got == status
    assert document["error"].startswith(error)


def test_tls_on_the_plain_port_fails_at_once(raw: socket.socket) -> None:
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLError, match=r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE"):
        context.wrap_socket(raw, server_hostname="localhost")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_read_before_413(
    connection: http.client.HTTPConnection, chunked: bool
) -> None:
    # Larger than all buffers, so a client would not see a response before the end of the body.
    body = b"x" * 20_000_000
    connection.request("POST", PATH, iter([body]) if chunked else body, encode_chunked=chunked)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())) == (413, {"error": TOO_LARGE})
    assert response.getheader("Connection") == "close"


def test_a_body_as_large_as_the_limit(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", PATH, BODY + b" " * (LIMIT - len(BODY)))
    assert json.loads(connection.getresponse().read()) == ANSWER


def test_larger_bodies_together_are_as_large_as_one_may_be(
    connection: http.client.HTTPConnection, raw: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rockstar_serving.model_server.rest_server._MEMORY_SECONDS", 0.1)
    unfinished = BODY + b" " * (LIMIT - len(BODY))
    raw.sendall(request(f"POST {PATH} HTTP/1.1", f"Content-Length: {LIMIT}", body=unfinished[:-1]))
    connection.request("POST", PATH, BODY)
    assert json.loads(connection.getresponse().read()) == ANSWER
    connection.request("POST", PATH, BODY + b" " * 300_000)
    response = connection.getresponse()
    assert (response.status, response.getheader("Connection")) == (429, "close")
    assert "send it again later" in json.loads(response.read())["error"]
    raw.sendall(unfinished[-1:])
    assert answer(raw)[:2] == (200, ANSWER)
    connection.request("POST", PATH, BODY + b" " * 300_000)
    assert json.loads(connection.getresponse().read()) == ANSWER


def test_a_body_that_does_not_arrive_in_time(
    raw: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rockstar_serving.model_server.rest_server._STALLED_SECONDS", 0.1)
    raw.sendall(request(f"POST {PATH} HTTP/1.1", f"Content-Length: {len(BODY)}", body=BODY[:-1]))
    assert answer(raw)[:2] == (
        408,
        {"error": "the body did not arrive within 0.1 s: send less at once"},
    )


LARGE = json.dumps({"instances": [[0.25, 4.0]] * 80_000}).encode()
LARGE_ANSWER = {"predictions": [[0.5, 8.0]] * 80_000}


@pytest.mark.parametrize("encoding", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "gzip"])
def test_a_large_body(connection: http.client.HTTPConnection, encoding: dict[str, str]) -> None:
    assert len(LARGE) > 1_000_000
    for _ in range(3):
        connection.request("POST", PATH, gzip.compress(LARGE, 1) if encoding else LARGE, encoding)
        assert json.loads(connection.getresponse().read()) == LARGE_ANSWER


def test_a_large_body_in_pieces_and_a_request_right_behind_it(raw: socket.socket) -> None:
    data = request(f"POST {PATH} HTTP/1.1", f"Content-Length: {len(LARGE)}", body=LARGE)
    data += request("GET /v1/models/x HTTP/1.1")
    for start in range(0, len(data), 300_001):
        raw.sendall(data[start : start + 300_001])
    file = raw.makefile("rb")
    assert file.readline().split()[1] == b"200"
    length = int(http.client.parse_headers(file)["Content-Length"])
    assert json.loads(file.read(length)) == LARGE_ANSWER
    assert file.readline().split()[1] == b"404"


@pytest.mark.parametrize("sent", [0, len(LARGE) // 2, len(LARGE) - 1])
def test_a_client_that_goes_away_within_a_large_body(
    port: int, connection: http.client.HTTPConnection, sent: int
) -> None:
    head = request(f"POST {PATH} HTTP/1.1", f"Content-Length: {len(LARGE)}")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as gone:
        gone.sendall(head + LARGE[:sent])
    connection.request("POST", PATH, BODY)
    assert json.loads(connection.getresponse().read()) == ANSWER


def test_many_connections(port: int) -> None:
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(150)]
    try:
        for connection in connections:
            connection.request("GET", "/v1/models/m")
            response = connection.getresponse()
            response.read()
            assert response.status == 200
    finally:
        for connection in connections:
            connection.close()
