"""The bodies of requests."""

from typing import Any

from rockstar_serving.model_server.rest_api.large_body import LargeBody
from tfs_api.gzip_body import inflate, is_gzip
from tfs_api.status import Code, StatusError


class BodyTooLargeError(StatusError):
    """A body of more bytes than the server takes: HTTP status 413."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(Code.INVALID_ARGUMENT, too_large(max_bytes))


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
    if not is_gzip(environ.get("HTTP_CONTENT_ENCODING", "")):
        return body
    inflated = inflate(body, max_bytes)
    if inflated is None:
        raise BodyTooLargeError(max_bytes)
    return inflated


def too_large(max_bytes: int) -> str:
    """What is said of a body that is longer."""
    return (
        f"the body is longer than {max_bytes} bytes: send fewer instances at once, or start the "
        "server with a larger --rest_api_max_body_bytes"
    )
