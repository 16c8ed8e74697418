"""Bodies, and those that came as gzip."""

import gzip
import io
from typing import Any

import pytest

from rockstar_serving.model_server.rest_api.bodies import BodyTooLargeError, read_body
from tfs_api.status import StatusError

LIMIT = 1000
BODY = b'{"instances": [1]}'


def environ(body: bytes, encoding: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return found if encoding is None else {**found, "HTTP_CONTENT_ENCODING": encoding}


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, None),
        (BODY, "identity"),
        (gzip.compress(BODY, mtime=0), "gzip"),
        (gzip.compress(BODY, mtime=0), "x-gzip"),
    ],
)
def test_bodies(body: bytes, encoding: str | None) -> None:
    assert read_body(environ(body, encoding), LIMIT) == BODY


def test_no_body() -> None:
    assert read_body({"wsgi.input": io.BytesIO()}, LIMIT) == b""


def test_a_body_may_be_as_large_as_the_limit() -> None:
    body = b"x" * LIMIT
    assert read_body(environ(gzip.compress(body), "gzip"), LIMIT) == body


def test_a_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    with pytest.raises(
        BodyTooLargeError, match=r"longer than 1000 bytes.*--rest_api_max_body_bytes"
    ):
        read_body(environ(bomb, "gzip"), LIMIT)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (BODY, "says gzip, the body is none"),
        (b"", "ends too early"),
        (gzip.compress(BODY, mtime=0)[:-9], "ends too early"),
    ],
)
def test_what_is_no_gzip(body: bytes, message: str) -> None:
    with pytest.raises(StatusError, match=message):
        read_body(environ(body, "gzip"), LIMIT)
