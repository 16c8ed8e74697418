"""Receives request bodies within limits of size, time and memory, and decompresses them."""

import contextlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import Any

import numpy as np
from flask import request
from numpy.typing import NDArray
from werkzeug.exceptions import ClientDisconnected

from rockstar_contract.contract import Input
from rockstar_contract.csv_rows import MAX_GZIP_MEMBERS
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.inputs import Example, prepare
from rockstar_serving.gateway.admission import Limit, Upload
from rockstar_serving.gateway.context import RequestContext, context
from rockstar_serving.gateway.errors import (
    ProblemError,
    UnsupportedTypeError,
    problem_of,
    rejection,
)
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.gateway.state import Gateway, gateway
from tfs_api.status import Code

# A body of this size needs no memory to speak of.
PLAIN_BODY = 128 * 1024
# Bytes at the start of each body that do not count.
_UNCOUNTED = 256 * 1024
# Bytes of JSON in which values are counted at a time.
_COUNTED = 2**17
# Most values of a JSON document: a few bytes each, but many in memory.
_MAX_VALUES = 1_500_000
# Most names in the objects of a JSON document, which take far longer than its values.
_MAX_NAMES = 300_000
# Twice what they take.
_LIST_BYTES, _VALUE_BYTES = 160, 64
_CHUNK = 64 * 1024
# Of a decompressed body: a millisecond of work.
_INFLATED = 4 * _CHUNK
# Of a chunked body, whose chunks may be tiny.
_CHUNKED_PIECE = 16 * 1024
SMALL_CHUNK = 64
# Not codings: clients often put the charset here.
_NO_CODINGS = ("identity", "utf-8", "utf8")
_GZIP_STARTS = b"\x1f"


def whole_body(current: RequestContext, config: GatewayConfig) -> bytes:
    """The body of a request, decompressed; raises what body_chunks() does."""
    # Not a list of chunks: freed between other objects, they would keep the process large.
    body = io.BytesIO()
    for chunk in body_chunks(current, config):
        body.write(chunk)
    return body.getvalue()


def body_chunks(current: RequestContext, config: GatewayConfig) -> Iterator[bytes]:
    """The body of a request, decompressed, in chunks as they arrive.

    Raises:
        InvalidInputError: while iterating: the body is truncated, or not compressed as declared.
        ProblemError: while iterating: it takes too long, or there is no room for a slow upload any
            more; or at once: unknown Content-Encoding.
        TooLargeError: larger than config.max_body_bytes, as sent or decompressed.
    """
    header = current.header("content-encoding") or ""
    words = [word.strip().lower() for word in header.split(",")] if header else ()
    codings = [word.removeprefix("x-") for word in words if word and word not in _NO_CODINGS]
    if not codings:
        return current.receive()
    if codings in (["gzip"], ["deflate"]):
        return _decompressed(current.receive(), codings[0], config.max_body_bytes)
    error = UnsupportedTypeError(
        "Content-Encoding",
        expected="gzip or deflate",
        got=", ".join(codings),
        hint="send it uncompressed, or with one of these",
    )
    problem = problem_of(error, relays=False)
    problem.headers = {"Accept-Encoding": "gzip, deflate"}
    raise problem


def received(here: Gateway, current: RequestContext) -> Iterator[bytes]:
    """The body of the current WSGI request as sent; raises what body_chunks() does."""
    environ = request.environ
    most, length = here.config.max_body_bytes, request.content_length
    if length is not None and length > most:
        raise too_large(most, f"{length:,} bytes")
    if length is None and "wsgi.input_terminated" not in environ:
        return
    # A chunked body does not declare its length.
    end, piece = (most + 1, _CHUNKED_PIECE) if length is None else (length, _CHUNK)
    stream = environ["wsgi.input"]
    upload = Upload(here.uploads, current, environ.get("gunicorn.socket"))
    try:
        while (
            upload.received < end
            and not upload.costly
            and (data := upload.read(stream, min(piece, end - upload.received)))
        ):
            hold_body(upload.received, len(data))
            yield data
    except ProblemError:
        raise
    except OSError as error:
        if not upload.ended:
            raise ClientDisconnected from error
    except Exception as error:  # from the server's parser of chunks
        if not upload.ended:
            raise not_chunks() from error
    finally:
        current.uploading += upload.seconds
    if upload.late:
        raise too_slow(here.uploads.seconds)
    if current.verdict != "admitted" and not upload.admit():
        raise rejection(current.verdict)
    if upload.received > most:
        raise too_large(most, "more")
    if upload.costly:
        raise small_chunks()
    if length is not None and upload.received < length:
        current.unread = True  # the connection ends
        raise truncated(length)
    current.unread = False


def _decompressed(chunks: Iterable[bytes], coding: str, most: int) -> Iterator[bytes]:
    """Decompress chunk by chunk; holds little more than one at a time."""
    inflater: Any = None
    produced = members = 0
    try:
        # Small pieces, because zlib copies the rest of one again and again.
        pieces = (
            chunk[at : at + _CHUNK] for chunk in chunks for at in range(0, len(chunk), _CHUNK)
        )
        for piece in pieces:
            data, more = piece, True
            while more:
                if inflater is None or inflater.eof:
                    # gzip may have several members; other trailing data is ignored, as by gzip(1).
                    is_member = coding == "gzip" and data.startswith(_GZIP_STARTS)
                    if inflater is not None and not is_member:
                        break
                    members += 1
                    if members > MAX_GZIP_MEMBERS:
                        raise _not_compressed(coding, f"more than {MAX_GZIP_MEMBERS:,} members")
                    if coding == "gzip":
                        window = 16 + zlib.MAX_WBITS
                    else:
                        # Half of all clients send raw deflate, without zlib's header.
                        has_header = data[0] & 0x0F == zlib.DEFLATED
                        window = zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
                    inflater = zlib.decompressobj(window)
                with _inflating(produced):
                    out = inflater.decompress(data, _INFLATED)
                produced += len(out)
                if produced > most:
                    raise too_large(most, "more", " when decompressed")
                hold_body(produced, len(out))
                if out:
                    yield out
                data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                more = bool(data) or (len(out) == _INFLATED and not inflater.eof)
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]  # without zlib's own number
        raise _not_compressed(coding, f"something else ({reason})") from error
    if inflater is not None and not inflater.eof:
        raise _not_compressed(coding, "a body that ends too early")


def _not_compressed(coding: str, got: str) -> InvalidInputError:
    return InvalidInputError(
        "body",
        expected=f"{coding}, as Content-Encoding says",
        got=got,
        hint="leave the header out where the body is not compressed",
    )


def hold_body(received: int, more: int) -> None:
    """Count `more` bytes of a body, which take memory until its request ends.

    The first of the bytes `received` so far are free. Raises ProblemError if all bodies together
    take too much.
    """
    if received > _UNCOUNTED:
        bodies = gateway().memory.bodies
        if bodies.enter(0, more) != "admitted":
            raise rejection("full")
        context().held.append(partial(bodies.leave, more))


def reserve(
    here: Gateway, current: RequestContext | None, size: int, limit: Limit | None = None
) -> Callable[[], None]:
    """Wait until `size` bytes are free, by default of the memory for decoded inputs.

    `current` is None if the request may be over. Returns a function that gives the bytes back.

    Raises:
        DeadlineExceededError: the time is over.
        ProblemError: too many requests wait.
    """
    limit = limit or here.memory.decoding(size)
    size = min(size, limit.most)  # a larger input is alone
    verdict = limit.enter(0, size)
    if verdict == "late":
        # Others may run meanwhile.
        is_admitted = current is not None and current.verdict == "admitted"
        if is_admitted:
            here.admission.leave()
        try:
            timeout = current.time_left() if current else here.config.request_timeout
            verdict = limit.enter(timeout, size)
        finally:
            if is_admitted:
                here.admission.resume()
    if verdict != "admitted":
        raise rejection(verdict if current else "late")
    return partial(limit.leave, size)


def hold(size: int) -> None:
    """Reserve memory for the current request until it ends; raises what reserve() does."""
    current = context()
    current.held.append(reserve(gateway(), current, size))


@contextlib.contextmanager
def turn(here: Gateway, current: RequestContext | None, limit: Limit) -> Iterator[None]:
    """Compute when others let it, first come, first served; raises DeadlineExceededError.

    A request holds its place among those that run meanwhile.
    """
    timeout = current.time_left() if current else here.config.request_timeout
    if limit.enter(timeout) != "admitted":
        raise rejection("late")
    try:
        yield
    finally:
        limit.leave()


def _inflating(produced: int) -> contextlib.AbstractContextManager[None]:
    """Decompress more of a body of which there are `produced` bytes; large ones take turns."""
    if produced <= PLAIN_BODY:
        return contextlib.nullcontext()
    here = gateway()
    return turn(here, context(), here.memory.inflating)


def prepare_in_turn(
    here: Gateway,
    current: RequestContext | None,
    example: Example,
    spec: Input,
    field: str,
    **options: Any,
) -> NDArray[np.float32]:
    """See inputs.prepare(); waits for memory and a turn, and raises what reserve() does."""
    with contextlib.ExitStack() as taken:

        def wait(size: int) -> None:
            taken.close()  # a repaired image is decoded twice
            taken.callback(reserve(here, current, size))
            taken.enter_context(turn(here, current, here.memory.preparing(size)))

        most = here.config.max_pixels
        return prepare(example, spec, field=field, max_pixels=most, reserve=wait, **options)


@contextlib.contextmanager
def reading(size: int) -> Iterator[None]:
    """Read a JSON document or CSV file of `size` bytes; large ones wait for each other.

    Reading holds the interpreter's lock most of the time. With several at a time each would take
    longer, and small requests would wait for all of them.

    Raises:
        DeadlineExceededError, ProblemError: see reserve().
    """
    if size <= PLAIN_BODY:
        yield
        return
    here = gateway()
    give_back = reserve(here, context(), 1, here.memory.reading)
    try:
        yield
    finally:
        give_back()


@contextlib.contextmanager
def reading_json(body: bytes) -> Iterator[None]:
    """Check the number of values in a JSON document, reserve their memory, and read it.

    Raises:
        TooLargeError: more than _MAX_VALUES.
        DeadlineExceededError, ProblemError: see reserve().
    """
    if len(body) > PLAIN_BODY:
        lists = values = names = 0
        with reading(len(body)):
            for start in range(0, len(body), _COUNTED):
                piece = body[start : start + _COUNTED]
                lists += piece.count(b"[") + piece.count(b"{")
                values, names = values + piece.count(b","), names + piece.count(b":")
                if lists + values > _MAX_VALUES or names > _MAX_NAMES:
                    raise TooLargeError(
                        "body",
                        expected=f"JSON of at most {_MAX_VALUES:,} values, lists and objects, and "
                        f"{_MAX_NAMES:,} names",
                        got="more",
                        hint="send fewer examples, or binary data: images, .npy, binary tensors of "
                        "/v2",
                    )
        hold(2 * len(body) + _LIST_BYTES * lists + _VALUE_BYTES * values)
    with reading(len(body)):
        yield


def too_large(most: int, got: str, which: str = "") -> TooLargeError:
    """The error for a body of more than `most` bytes."""
    expected = f"at most {most:,} bytes{which}"
    return TooLargeError("body", expected=expected, got=got, hint="send fewer or smaller inputs")


def too_slow(seconds: float) -> ProblemError:
    """The error for a body that did not arrive within `seconds`."""
    return ProblemError(
        HTTPStatus.REQUEST_TIMEOUT,
        f"The body did not arrive within {seconds:g} s.",
        Code.DEADLINE_EXCEEDED,
        hint="Send less at once, or over a faster connection.",
    )


def truncated(length: int) -> InvalidInputError:
    """The error for a body that ends before its declared length."""
    expected = f"{length:,} bytes, as Content-Length says"
    hint = "check that the upload is complete"
    return InvalidInputError("body", expected=expected, got="fewer", hint=hint)


def not_chunks() -> InvalidInputError:
    """The error for a chunked body that is malformed or ends too early."""
    expected = "chunks, each after its size in hexadecimal digits, the last of size 0 (RFC 9112)"
    return InvalidInputError("body", expected=expected, got="something else")


def small_chunks() -> InvalidInputError:
    """The error for a body in thousands of chunks that are smaller than SMALL_CHUNK."""
    expected, got = f"chunks of {SMALL_CHUNK} bytes or more", "thousands of smaller ones"
    return InvalidInputError("body", expected=expected, got=got, hint="send fewer chunks")
