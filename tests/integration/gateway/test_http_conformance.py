"""HTTP/1.1 on both servers: framing (RFC 9112), methods and targets (RFC 9110), through raw sockets.

A second request follows each case on its connection. It is answered after a valid request, and never
after an invalid one: where that would end is unknown, and what an attacker put there would be taken
for a request of somebody else.
"""

import random
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from io import BytesIO
from typing import Any

import h11
import pytest

from tests.integration.gateway.conftest import IMAGE, ToyServer, running

NEXT = b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
LAST = b"0\r\n\r\n"


def get(*headers: bytes, line: bytes = b"GET /livez HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: h", *headers, b"", b""])


def post(
    *headers: bytes, body: bytes = b"abc", line: bytes = b"POST /predict/toy HTTP/1.1"
) -> bytes:
    return get(b"Content-Type: image/png", *headers, line=line) + body


def chunks(body: bytes, *headers: bytes) -> bytes:
    return post(CHUNKED, *headers, body=body)


def image_in_chunks(last: bytes) -> bytes:
    return chunks(b"%x\r\n%s\r\n" % (len(IMAGE), IMAGE) + last)


# By status: requests after which the connection can be used. "abc" is no image.
VALID = {
    200: {
        "an empty line before it": b"\r\n" + get(),
        "obs-text in a value": get(b"A: \xe9"),
        "a tab in a value": get(b"A: b\tc"),
        "an empty value": get(b"A:"),
        "98 headers": get(*[b"A: b"] * 98),
        "a long value": get(b"A: " + b"a" * 8000),
        "absolute form": get(line=b"GET http://other/livez HTTP/1.1"),
        "an empty Host": b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n",
        "HTTP/1.0 keep-alive": b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "HEAD": get(line=b"HEAD /livez HTTP/1.1"),
        "OPTIONS /predict/toy": get(line=b"OPTIONS /predict/toy HTTP/1.1"),
        "GET with a body": get(b"Content-Length: 3") + b"abc",
        "an unknown upgrade": get(b"Connection: Upgrade", b"Upgrade: websocket"),
        "an upgrade to HTTP/2": get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c"),
        "an underscore in a name": get(b"X_Y: a"),
        "a whole image": image_in_chunks(LAST),
    },
    400: {
        "zeros before the length": post(b"Content-Length: 003"),
        "tabs around the length": post(b"Content-Length:\t3\t"),
        "chunked in capitals": post(b"Transfer-Encoding: CHUNKED", body=b"3\r\nabc\r\n" + LAST),
        "a chunk extension": chunks(b'3;a=b;c="d;e"\r\nabc\r\n' + LAST),
        "zeros before a chunk size": chunks(b"0003\r\nabc\r\n" + LAST),
        "a last chunk of zeros": chunks(b"3\r\nabc\r\n000\r\n\r\n"),
        "no body": post(body=b""),
        "Connection names Content-Length": post(
            b"Connection: Content-Length", b"Content-Length: 3"
        ),
    },
    404: {
        "OPTIONS *": get(line=b"OPTIONS * HTTP/1.1"),
        "a HEAD of nothing": get(line=b"HEAD /nothing HTTP/1.1"),
        "an invalid escape": get(line=b"GET /livez%zz HTTP/1.1"),
    },
    405: {
        method: get(line=b"%s /livez HTTP/1.1" % method.encode())
        for method in ("TRACE", "PUT", "DELETE", "PATCH", "UNKNOWN", "M-SEARCH")
    },
}

# Requests whose response ends the connection, because their client asks for it.
CLOSING = {
    "close": get(b"Connection: close"),
    "close in capitals": get(b"CONNECTION: CLOSE"),
    "close in a list": get(b"Connection: foo, close"),
    "close in a second header": get(b"Connection: keep-alive", b"Connection: close"),
    "HTTP/1.0": b"GET /livez HTTP/1.0\r\n\r\n",
}

INVALID = {
    "no request": b"GARBAGE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "a bare CR as line end": b"GET /livez HTTP/1.1\rHost: h\r\r",
    "a bare CR in a value": get(b"A: b\rC: d"),
    "a NUL in a value": get(b"A: b\0c"),
    "a NUL in a name": get(b"A\0B: c"),
    "a NUL in the target": get(line=b"GET /liv\0ez HTTP/1.1"),
    "a control character in a value": get(b"A: b\x01c"),
    "obs-text in a name": get(b"\xe9: b"),
    "a folded header": get(b"A: b", b" c"),
    "a folded coding": post(b"Transfer-Encoding:", b"\tchunked", body=LAST),
    "a fold after the request line": b"GET /livez HTTP/1.1\r\n Host: h\r\n\r\n",
    "a space before a colon": post(b"Content-Length : 3"),
    "a header without a colon": get(b"abc"),
    "a header without a name": get(b": b"),
    "a name with a slash": get(b"A/b: c"),
    "two spaces in the request line": get(line=b"GET  /livez HTTP/1.1"),
    "a space after the request line": get(line=b"GET /livez HTTP/1.1 "),
    "tabs in the request line": get(line=b"GET\t/livez\tHTTP/1.1"),
    "a space in the target": get(line=b"GET /liv ez HTTP/1.1"),
    "a target that is no ASCII": get(line=b"GET /liv\xe9z HTTP/1.1"),
    "an empty target": get(line=b"GET  HTTP/1.1"),
    "a backslash as target": get(line=b"GET \\livez HTTP/1.1"),
    "HTTP/2.0": get(line=b"GET /livez HTTP/2.0"),
    "HTTP/1.1.1": get(line=b"GET /livez HTTP/1.1.1"),
    "http/1.1": get(line=b"GET /livez http/1.1"),
    "another protocol": get(line=b"GET /livez ICE/1.1"),
    "a method in lower case": get(line=b"get /livez HTTP/1.1"),
    "a method with a brace": get(line=b"G{T /livez HTTP/1.1"),
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "no Host for a prediction": b"POST /predict/toy HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    "two Hosts": get(b"Host: other"),
    "101 headers": get(*[b"A: b"] * 100),
    "a length that is no number": post(b"Content-Length: x"),
    "a long name": get(b"a" * 70_000 + b": b"),
    "a line without end": b"A" * 600_000,
    "two lengths": post(b"Content-Length: 3", b"Content-Length: 5"),
    "a length in HTTP/1.0 chunks": post(CHUNKED, body=LAST, line=b"POST /predict/toy HTTP/1.0"),
    "a length and a coding": post(b"Content-Length: 5", CHUNKED, body=LAST),
    "a coding and a length": post(CHUNKED, b"Content-Length: 5", body=LAST),
    "two codings": chunks(LAST, CHUNKED),
    "a space before a coding's colon": post(b"Transfer-Encoding : chunked", body=LAST),
    "chunks that end early": image_in_chunks(b"zz\r\n"),
    "a trailer without a colon": image_in_chunks(b"0\r\nabc\r\n\r\n"),
    "a trailer with a length": image_in_chunks(b"0\r\nContent-Length: 50\r\n\r\n"),
    **{
        f"Content-Length: {value!r}": post(b"Content-Length: " + value)
        for value in (
            *(b"", b"3, 4", b"+3", b"-3", b"0_3", b"0x3", b"3.0", b"1 3", b"3,", b"3;a", b"\xb3"),
            *(b"\x0b3", b"9" * 30, b"18446744073709551619"),
        )
    },
    **{
        f"Transfer-Encoding: {value!r}": post(b"Transfer-Encoding: " + value, body=LAST)
        for value in (
            *(b"", b"gzip", b"identity", b"chunked, gzip", b"chunked, chunked", b"xchunked"),
            *(b"gzip, chunked", b"cow, chunked", b'"chunked"', b"\xa0chunked", b"\x0bchunked"),
            *(b"chunked;q=1", b"chunked,", b",chunked", b"chunked\0", b"chun ked"),
        )
    },
    **{
        f"chunk {start!r}": chunks(start + LAST)
        for start in (
            *(b"zz\r\nabc\r\n", b"0x3\r\nabc\r\n", b"+3\r\nabc\r\n", b"-3\r\nabc\r\n", b"0\n\n"),
            *(b"0_3\r\nabc\r\n", b"\r\nabc\r\n", b" 3\r\nabc\r\n", b"3\nabc\r\n", b"3\rabc\r\n"),
            *(b"3,a\r\nabc\r\n", b"3\0\r\nabc\r\n", b"3;a\nabc\r\n", b"3;a\rb\r\nabc\r\n"),
            *(b"3\r\nabc\n", b"3\r\nabc", b"3\r\nabcXX", b"3\r\nabcd\r\n"),
            b"3;" + b"a" * 20_000 + b"\r\nabc\r\n",
        )
    },
}

# Valid or not by the RFC's leave, or with a choice of errors: requests, and their status on gunicorn
# and on Granian; 0 if the connection ends without a response.
DIFFERENT = {
    "two empty lines before it": (b"\r\n\r\n" + get(), 400, 200),
    "bare LFs as line ends": (b"GET /livez HTTP/1.1\nHost: h\n\n", 400, 200),
    "HTTP/1.2": (get(line=b"GET /livez HTTP/1.2"), 200, 400),
    "equal lengths": (post(b"Content-Length: 3", b"Content-Length: 3"), 400, 400),
    "identity before chunked": (chunks(LAST, b"Transfer-Encoding: identity"), 400, 400),
    "a trailer": (image_in_chunks(b"0\r\nA: b\r\n\r\n"), 200, 400),
    "a target of 66,000 bytes": (get(line=b"GET /" + b"a" * 66_000 + b" HTTP/1.1"), 414, 414),
    "201 headers": (get(*[b"A: b"] * 200), 431, 431),
    "an unknown coding": (post(b"Transfer-Encoding: lzw", body=LAST), 501, 400),
    "a target of 9,000 bytes": (get(line=b"GET /" + b"a" * 9000 + b" HTTP/1.1"), 414, 404),
    "a header of 9,000 bytes": (get(b"A: " + b"a" * 9000), 431, 200),
    "a host as target": (get(line=b"GET h:80 HTTP/1.1"), 400, 308),
    "GET *": (get(line=b"GET * HTTP/1.1"), 400, 404),
    "another expectation": (post(b"Content-Length: 3", b"Expect: 200-ok"), 417, 400),
    "CONNECT": (get(line=b"CONNECT h:80 HTTP/1.1"), 404, 404),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 0),
}


@pytest.fixture(scope="module")
def port(host, tmp_path_factory) -> Iterator[int]:
    server = ToyServer()
    log = tmp_path_factory.mktemp("conformance") / "log"
    options = ("--model=toy", "--workers=1", "--upload-timeout=5")
    with running(server.port, log, *options, server=host) as gateway:
        yield gateway.port
    server.stop()


class Stream:
    """Received bytes, in place of a socket."""

    def __init__(self, data: bytes) -> None:
        self.file = BytesIO(data)
        self.file.close = lambda: None  # type: ignore[method-assign]

    def makefile(self, _mode: str) -> BytesIO:
        return self.file


def exchange(port: int, data: bytes, *, end: bool = False) -> bytes:
    """All that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        try:
            client.sendall(data)
            if end:
                client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # rejected already
        received = b""
        try:
            while data := client.recv(2**16):
                received += data
        except ConnectionError:  # it has closed before it has read all
            pass
    return received


def statuses(received: bytes, method: str = "POST") -> list[int]:
    """The statuses of responses; the method is that of the first request."""
    stream, found = Stream(received), []
    while stream.file.tell() < len(received):
        response = HTTPResponse(stream, method=method)  # type: ignore[arg-type]
        response.begin()
        response.read()
        found.append(response.status)
        method = "GET"
    return found


@pytest.mark.parametrize("status", VALID)
def test_after_a_valid_request_comes_the_next(port, status):
    for name, data in VALID[status].items():
        method = data.partition(b" ")[0].decode()
        received = exchange(port, data + NEXT)
        assert statuses(received, method) == [status, 200], name
        assert (b"\r\nallow: " in received.lower()) == (status == 405 or "OPTIONS /" in name), name


def test_a_client_may_ask_to_close_the_connection(port):
    for name, data in CLOSING.items():
        assert statuses(exchange(port, data + NEXT)) == [200], name


def test_nothing_is_served_after_an_invalid_request(port):
    for name, data in INVALID.items():
        received = exchange(port, data + NEXT)
        (status,) = statuses(received)
        assert status in (400, 413, 414, 431, 501), name
        assert b"\r\nconnection: close\r\n" in received.lower(), name


def test_the_servers_differ_where_they_may(port, host):
    for name, (data, *expected) in DIFFERENT.items():
        status = expected[host == "granian"]
        assert statuses(exchange(port, data + NEXT))[:1] == [status] * bool(status), name


@pytest.mark.parametrize("path", ["/predict/toy", "/explain/toy", "/v1/models/toy:predict"])
@pytest.mark.parametrize("more", [10, 100_000])
def test_a_body_shorter_than_declared_gets_400(port, path, more):
    line = f"POST {path} HTTP/1.1".encode()
    data = post(b"Content-Length: %d" % (len(IMAGE) + more), body=IMAGE, line=line)
    received = exchange(port, data, end=True)
    assert statuses(received) == [400]
    assert b"as Content-Length says" in received
    assert b"\r\nconnection: close\r\n" in received.lower()


def test_thousands_of_small_chunks(port, host):
    # gunicorn measures the processor time that they take.
    count = 5000 if host == "granian" else 200_000
    received = exchange(port, chunks(b"1\r\nx\r\n" * count + LAST) + NEXT)
    assert statuses(received) == [400]
    assert b"chunks of 64 bytes or more" in received


def test_chunks_that_end_early_get_400(port):
    assert statuses(exchange(port, image_in_chunks(b""), end=True)) == [400]


def count_requests(data: bytes) -> int:
    """The number of whole requests up to the first error or close, according to h11."""
    server, count = h11.Connection(h11.SERVER), 0
    server.receive_data(data)
    while True:
        try:
            event: Any = server.next_event()
        except h11.RemoteProtocolError:
            return count
        if isinstance(event, h11.EndOfMessage):
            count += 1
            server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is not h11.DONE:
                return count
            server.start_next_cycle()
        elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            return count


PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b";", b",", b"0", b"-", b"_", b"x", b"\xff"),
    *(b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", CHUNKED + b"\r\n", LAST, get()),
]


def test_mutations_are_never_taken_for_more_requests_than_h11_sees(port):
    choice = random.Random(1)
    for _ in range(200):
        data = choice.choice(
            [get(), post(b"Content-Length: 3"), chunks(b"3;a=b\r\nabc\r\n" + LAST)]
        )
        for _ in range(choice.randint(1, 2)):
            # Empty lines before a request are allowed.
            at = choice.randrange(1, len(data))
            data = data[:at] + choice.choice(PIECES) + data[at + choice.choice([0, 0, 1, 2]) :]
        # The last response may be an error.
        assert len(statuses(exchange(port, data + NEXT))) <= count_requests(data + NEXT) + 1, data
