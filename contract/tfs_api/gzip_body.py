"""Bodies of HTTP requests that come as gzip."""

import zlib

from tfs_api.status import Code, StatusError

_GZIP = 16 + zlib.MAX_WBITS


def is_gzip(encoding: str) -> bool:
    """Whether a body is gzip, by its header Content-Encoding.

    As in TensorFlow Serving, which looks for the word in the header, and for no other encoding.
    """
    return "gzip" in encoding


def inflate(body: bytes | memoryview, max_bytes: int) -> bytes | None:
    """What a body holds; None where that is more than max_bytes, of which no more are made.

    Raises:
        StatusError: INVALID_ARGUMENT, it is no gzip.
    """
    inflater = zlib.decompressobj(_GZIP)
    try:
        inflated = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise _invalid(
            f"the header Content-Encoding says gzip, the body is none: {error}"
        ) from error
    if len(inflated) > max_bytes:
        return None
    if not inflater.eof:
        raise _invalid("the header Content-Encoding says gzip, and the body ends too early")
    return inflated


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
