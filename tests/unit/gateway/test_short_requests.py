"""What is read of a head that repeats is what gunicorn would read of it."""

from itertools import product

import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException

from rockstar_serving.gateway.short_requests import ALIKE, Heads, short_request

CLIENT, SERVER = ("127.0.0.1", 4711), ("127.0.0.1", 8080)
# What stands for the connection or differs by who serves, and objects that are made each time.
APART = {"wsgi.input", "wsgi.errors", "wsgi.early_hints", "gunicorn.socket", "wsgi.multithread"}


def request(*headers: str, body: bytes = b"1234", target: str = "/predict/cnn") -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: here", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


REQUESTS = [
    request(),
    request(body=b"another"),
    request(body=b""),
    request("Content-Type: image/png"),
    request("Content-Type: image/png", body=b"12345"),
    request("Content-Type: application/json", body=b"12345"),
    request("X-Request-ID: one"),
    request("X-Request-ID: two"),
    request("x-request-id:\ttwo words \t"),
    request("X-Request-ID:"),
    request("X-Real-IP: 10.0.0.1", "X-Request-ID: one", "X-Forwarded-For: 10.0.0.1, 10.0.0.2"),
    request("X-Real-IP: 10.0.0.3", "X-Request-ID: two", "X-Forwarded-For: 10.0.0.3"),
    request("X-Request-ID: two", "X-Real-IP: 10.0.0.3", "X-Forwarded-For: 10.0.0.3"),
    request("Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    request("Traceparent: 00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"),
    request("X-Forwarded-Host: x-request-id: none", "X-Request-ID-More: 1"),
    request("Connection: close"),
    request("X-Forwarded-Proto: https"),
    request("A: 1", "A: 2"),
    request(target="/predict/cnn?top=2"),
    request(target="/v1/models/c%20nn:predict"),
    request().replace(b"Content-Length: 4", b"content-length:  004 "),
    request(),
]


def read(data: bytes) -> tuple[dict, bool, bytes]:
    """As gunicorn reads it: the environment, whether the connection ends, and the body."""
    parsed = next(http.get_parser(Config(), [data], CLIENT))
    _, environ = wsgi.create(parsed, None, CLIENT, SERVER, Config())
    return plain(environ), parsed.should_close(), parsed.body.read()


def plain(environ: dict) -> dict:
    return {name: value for name, value in environ.items() if name not in {*APART, ALIKE}}


def read_again(heads: Heads, data: bytes) -> tuple[dict, bool, bytes]:
    short = short_request(data)
    assert short is not None
    parsed, environ = heads.read(short)
    return plain(environ), parsed.should_close(), environ["wsgi.input"].read()


def heads() -> Heads:
    return Heads(Config(), CLIENT, SERVER)


def test_each_request_of_a_connection_is_read_as_it_is():
    connection = heads()
    for data in REQUESTS:
        for _ in range(2):
            assert read_again(connection, data) == read(data)


def test_every_head_after_every_other():
    for before, after in product(REQUESTS, REQUESTS):
        connection = heads()
        read_again(connection, before)
        assert read_again(connection, after) == read(after)


def test_what_the_application_notes_does_not_reach_the_next():
    connection, short = heads(), short_request(request())
    assert short is not None
    _, environ = connection.read(short)
    environ["noted"] = True
    environ["wsgi.input"].read()
    _, environ = connection.read(short)
    assert "noted" not in environ
    assert environ["wsgi.input"].read() == b"1234"


def test_what_follows_from_a_head_is_kept_for_those_like_it_alone():
    connection = heads()
    kept = []
    for number in range(3):
        short = short_request(request(f"X-Request-ID: {number}", body=b"1" * number))
        assert short is not None
        kept.append(connection.read(short)[1][ALIKE])
    assert kept[0] is kept[1] is kept[2]
    other = short_request(request("X-Request-ID: 0", target="/predict/mlp"))
    assert other is not None
    assert connection.read(other)[1][ALIKE] is not kept[0]


def test_a_bad_head_is_refused_each_time_and_disturbs_no_other():
    connection, bad = heads(), short_request(request("B@d: 1"))
    assert bad is not None
    for _ in range(2):
        with pytest.raises(ParseException):
            connection.read(bad)
        assert read_again(connection, REQUESTS[0]) == read(REQUESTS[0])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        request()[:-1],
        request() + b"5",
        request().partition(b"\r\n\r\n")[0],
        request(target="/models"),
        request().replace(b"POST", b"PUT"),
        request("Transfer-Encoding: chunked"),
        request("Expect: 100-continue"),
        request("Content-Encoding: gzip"),
        request("Upgrade: h2c"),
        request("Transfer-Encoding : gzip, chunked"),
        request("Content-Length: 4"),
        request("content-length : 4").replace(b"Content-Length: 4\r\n", b""),
        request().replace(b"Content-Length: 4", b"Content-Length: +4"),
        request("X-Request-ID: one", "X-Request-ID: two"),
        request(f"X-Request-ID: {'a' * 9000}"),
        request("X-Request-ID: na\u00efve"),
        request().replace(b"Content-Length: 4", b"Content-Length: four"),
        request().replace(b"Content-Length: 4\r\n", b""),
    ],
)
def test_what_is_not_short_or_not_whole_is_left_to_others(data):
    assert short_request(data) is None
