"""The body of a request: received within limits of size and time, and decoded."""

import zlib
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import Problem, ProblemError
from rockstar_serving.gateway.state import gateway
from tfs_api.status import Code

CODINGS = "gzip, deflate"
# Clients often say here what they should say as the charset.
_NO_CODINGS = ("identity", "utf-8", "utf8")
_PIECE = 64 * 1024
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_GZIP_STARTS = b"\x1f"


def whole_body() -> bytes:
    """The bytes of the current request's body, as they were before any Content-Encoding.

    Raises:
        See body_pieces().
    """
    return b"".join(body_pieces())


def body_pieces() -> Iterator[bytes]:
    """The same in pieces, of which a body that arrives slowly is read one at a time.

    Raises:
        InvalidInputError: while iterating: it ends too early, or is not coded as its header says.
        ProblemError: likewise, it takes too long; or at once, its coding is not taken.
        RequestEntityTooLarge: it is larger than config.max_body_bytes.
        TooLargeError: it is so when it is decoded.
    """
    coding = _coding(request.environ.get("HTTP_CONTENT_ENCODING", ""))
    if coding is None:
        return _received()
    return _decoded(_received(), coding, gateway().config.max_body_bytes)


def _received() -> Iterator[bytes]:
    """The body as it was sent."""
    here, current, environ = gateway(), context(), request.environ
    most, length = here.config.max_body_bytes, request.content_length
    if length is not None and length > most:
        raise RequestEntityTooLarge
    if length is None and "wsgi.input_terminated" not in environ:
        return
    end = most + 1 if length is None else length
    stream, received = environ["wsgi.input"], 0
    upload = here.uploads.begin(environ.get("gunicorn.socket"), current.timeout)
    try:
        while received < end and (data := upload.read(stream, min(_PIECE, end - received))):
            received += len(data)
            yield data
    except OSError as error:
        if not upload.late:
            raise ClientDisconnected from error
    except Exception as error:  # the server's parser of chunks
        if not upload.late:
            raise InvalidInputError(
                "body",
                expected="chunks, each after its size in hexadecimal digits (RFC 9112)",
                got="something else",
            ) from error
    finally:
        current.uploading += upload.seconds
    if upload.late:
        raise _late(here.uploads.seconds)
    if received > most:
        # A chunked body does not say its length beforehand.
        raise RequestEntityTooLarge
    if length is not None and received < length:
        raise InvalidInputError(
            "body",
            expected=f"{length:,} bytes, as Content-Length says",
            got=f"{received:,}",
            hint="check that the upload is complete",
        )
    current.unread = False


def _late(seconds: float) -> ProblemError:
    return ProblemError(
        Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"The body did not arrive within {seconds:g} s.",
            Code.DEADLINE_EXCEEDED,
            hint="Send less at once, or over a faster connection.",
        )
    )


def _coding(header: str) -> str | None:
    """The coding of a body; None where it is as it is."""
    codings = [word for each in header.split(",") if (word := each.strip().lower())]
    codings = [coding.removeprefix("x-") for coding in codings if coding not in _NO_CODINGS]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in ("gzip", "deflate"):
        error = InvalidInputError(
            "Content-Encoding", expected="gzip or deflate", got=", ".join(codings)
        )
        raise ProblemError(
            Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                str(error),
                Code.INVALID_ARGUMENT,
                field=error.field,
                expected=error.expected,
                got=error.got,
                hint="Send it uncompressed, or with one of these.",
                headers={"Accept-Encoding": CODINGS},
            )
        )
    return codings[0]


def _decoded(pieces: Iterable[bytes], coding: str, most: int) -> Iterator[bytes]:
    """Decompress as pieces come; never much more than is asked for is held."""
    inflater: Any = None
    produced, started = 0, False
    try:
        for piece in pieces:
            data, more = piece, bool(piece)
            while more:
                if inflater is None or inflater.eof:
                    # gzip may have several members; what else follows is nothing, as to gzip(1).
                    if started and not (coding == "gzip" and data.startswith(_GZIP_STARTS)):
                        break
                    inflater, started = zlib.decompressobj(_window(coding, data)), True
                out = inflater.decompress(data, _PIECE)
                produced += len(out)
                if produced > most:
                    raise TooLargeError(
                        "body",
                        expected=f"at most {most:,} bytes when decompressed",
                        got="more",
                        hint="send fewer or smaller inputs",
                    )
                if out:
                    yield out
                data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                more = bool(data) or (len(out) == _PIECE and not inflater.eof)
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]  # without zlib's own number
        raise _not_coded(coding, f"something else ({reason})") from error
    if inflater is not None and not inflater.eof:
        raise _not_coded(coding, "a body that ends too early")


def _window(coding: str, data: bytes) -> int:
    """What zlib calls a format. Half of all clients mean raw deflate, without zlib's header."""
    if coding == "gzip":
        return _GZIP
    return _ZLIB if data[0] & 0x0F == zlib.DEFLATED else _RAW


def _not_coded(coding: str, got: str) -> InvalidInputError:
    return InvalidInputError(
        "body",
        expected=f"{coding}, as Content-Encoding says",
        got=got,
        hint="leave the header out where the body is not compressed",
    )
