"""The bodies of requests."""

import zlib
from typing import Any

from serving.api.status import Code, StatusError
from serving.model_server.rest_api.large_body import LargeBody


class BodyTooLargeError(StatusError):
    """A body of more bytes than the server takes: HTTP status 413."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(Code.INVALID_ARGUMENT, too_large(max_bytes))


_GZIP = 16 + zlib.MAX_WBITS


def read_body(environ: dict[str, Any], max_bytes: int) -> bytes | memoryview:
    """The body of a request, inflated where it came as gzip.

    Args:
        environ: of WSGI.
        max_bytes: how long it may be after that.

    Raises:
        BodyTooLargeError: it is longer.
        StatusError: INVALID_ARGUMENT, it is no gzip, though its header says so.
    """
    stream = environ["wsgi.input"]
    if isinstance(stream, LargeBody):
        body: bytes | memoryview = stream.getbuffer()
    else:
        body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    encoding = environ.get("HTTP_CONTENT_ENCODING", "")
    # As in TensorFlow Serving, which looks for the word in the header, and for no other encoding.
    return _inflated(body, max_bytes) if "gzip" in encoding else body


def too_large(max_bytes: int) -> str:
    """What is said of a body that is longer."""
    return (
        f"the body is longer than {max_bytes} bytes: send fewer instances at once, or start the "
        "server with a larger --rest_api_max_body_bytes"
    )


def _inflated(body: bytes | memoryview, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        inflated = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise _invalid(
            f"the header Content-Encoding says gzip, the body is none: {error}"
        ) from error
    if len(inflated) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    if not inflater.eof:
        raise _invalid("the header Content-Encoding says gzip, and the body ends too early")
    return inflated


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
