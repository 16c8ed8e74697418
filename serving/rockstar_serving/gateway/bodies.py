"""Request bodies: received within limits of size and time, decompressed, and read as examples.

A body holds a raw image or array, a form with files, JSON instances or CSV rows. NumPy's files come
from strangers: they are read without pickle, and their size is checked before memory is allocated.
"""

import base64
import copy
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from math import prod
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np
import orjson
from flask import request
from numpy.lib import format as npy
from numpy.typing import NDArray
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import parse_options_header

from rockstar_contract.csv_rows import (
    CSV_ENDINGS,
    MAX_GZIP_MEMBERS,
    SAVE_AS_CSV,
    read_rows,
    spreadsheet_name,
)
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.inputs import Example
from rockstar_contract.limits import POSSIBLE_SHAPE, is_possible_shape
from rockstar_serving.gateway.admission import Upload
from rockstar_serving.gateway.context import RequestContext, context
from rockstar_serving.gateway.errors import (
    ProblemError,
    UnsupportedTypeError,
    rejection,
)
from rockstar_serving.gateway.forms import is_text, read_form
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.gateway.state import Gateway, gateway
from tfs_api.status import Code

TYPES = "image/*, multipart/form-data, application/json, application/x-npy or text/csv"
HINT = (
    "curl -F image=@seven.png or -F rows=@rows.csv sends a file; "
    "curl -H 'Content-Type: text/csv' --data-binary @rows.csv too"
)
CSV_TYPES = ("text/csv", "text/tab-separated-values", "application/csv")
_JSON_TYPES = ("application/json", "text/json")
_SPREADSHEETS = (
    "application/vnd.ms-excel",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml",
)
_RAW_TYPES = ("image/", "application/octet-stream", "application/x-npy", "application/x-npz")
# Defaults of clients: curl sends the second for any data, fetch() the last for any text.
_FORM_FIELDS = "application/x-www-form-urlencoded"
_DEFAULT_TYPES = ("", _FORM_FIELDS, "text/plain")
# Bytes at the start of each body that do not count, and sizes that need no memory to speak of.
_UNCOUNTED, _PLAIN_BODY = 256 * 1024, 128 * 1024
# Most values of a JSON document, and of a CSV file: a few bytes each, but many in memory.
_MAX_VALUES, _MAX_CELLS = 1_500_000, 500_000
# Most names in the objects of a JSON document, which take far longer than its values.
_MAX_NAMES = 300_000
# Twice what they take: parsing holds the interpreter's lock, so that more at a time would not be
# faster, and other requests would wait longer.
_LIST_BYTES, _VALUE_BYTES = 160, 64
# For each byte of a CSV file: its text, and the reader's copy with four bytes a character.
_CSV_BYTES = 8
# For each number of an array file: as float32, alone and in the batch.
_ARRAY_BYTES = 8
_ZIP_MEMBER = b"PK\1\2"
# What only the standard library parses: a byte order mark, UTF-16, NaN, half of a surrogate pair.
_EXTENDED_JSON = re.compile(
    rb"\A(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff|.?\0)|NaN|Infinity|\\u[dD][89a-fA-F]"
)
# How a browser's canvas exports its image.
_DATA_URL = "data:image/"

_CHUNK = 64 * 1024
# Of a chunked body, whose chunks may be tiny.
_CHUNKED_PIECE = 16 * 1024
SMALL_CHUNK = 64
# Not codings: clients often put the charset here.
_NO_CODINGS = ("identity", "utf-8", "utf8")
_GZIP_STARTS = b"\x1f"

_NPY = b"\x93NUMPY"
_NPZ = (b"PK\x03\x04", b"PK\x05\x06")  # a ZIP archive, an empty one
_NPY_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# Written by numpy.savez and savez_compressed; others may need any amount of memory to unpack.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NPY_HINT = "numpy.save(file, array) writes one; arrays of numbers only"
_ARCHIVE_HINT = "send images themselves, as files of one form"


class NamedExample(msgspec.Struct, frozen=True):
    """An example and its name in error messages.

    Attributes:
        field: its place in the body.
        example: as it was sent, with texts decoded as base64; or the error that it is invalid.
        text: the text itself, for models that take strings; None if the example is no text.
    """

    field: str
    example: Example | InvalidInputError
    text: str | None = None

    def get(self) -> Example:
        """The example.

        Raises:
            InvalidInputError: it is invalid.
        """
        if isinstance(self.example, InvalidInputError):
            raise copy.copy(self.example)
        return self.example


def read_examples(current: RequestContext, config: GatewayConfig) -> list[NamedExample]:
    """Read the examples of a request, in order; one or more.

    Args:
        current: the request.
        config: limits.

    Raises:
        InvalidInputError: the body cannot be read.
        TooLargeError: over config.max_body_bytes, or more examples than config.max_instances.
        UnsupportedTypeError: another content type.
    """
    content_type = current.header("content-type") or ""
    mimetype = content_type.partition(";")[0].strip().lower()
    if mimetype.startswith(_RAW_TYPES):
        examples = _file(whole_body(current, config), "body", config)
    elif mimetype == "multipart/form-data":
        examples = _form_files(content_type, current, config)
    elif mimetype in _JSON_TYPES or mimetype.endswith("+json"):
        examples = _json_examples(whole_body(current, config), config)
    elif mimetype in CSV_TYPES:
        charset = parse_options_header(content_type)[1].get("charset")
        examples = _rows(whole_body(current, config), "body", config, charset)
    elif mimetype in _DEFAULT_TYPES and (
        found := _recognized(whole_body(current, config), mimetype, config)
    ):
        examples = found
    else:
        hint = SAVE_AS_CSV if mimetype.startswith(_SPREADSHEETS) else HINT
        raise UnsupportedTypeError(
            "Content-Type", expected=TYPES, got=mimetype or "none", hint=hint
        )
    require_few(len(examples), config)
    return examples


def require_few(examples: int, config: GatewayConfig, got: str = "") -> None:
    """Check the number of examples in a request.

    Args:
        examples: the number.
        config: limits.
        got: the number in words, if counting stopped early.

    Raises:
        TooLargeError: more than config.max_instances.
    """
    if examples > config.max_instances:
        raise TooLargeError(
            "body",
            expected=f"at most {config.max_instances} examples",
            got=got or str(examples),
            hint="send several requests; `rockstar predict` divides files itself",
        )


def whole_body(current: RequestContext, config: GatewayConfig) -> bytes:
    """The body of a request, decompressed; raises what body_chunks() does."""
    # Not a list of chunks: freed between other objects, they would keep the process large.
    body = io.BytesIO()
    for chunk in body_chunks(current, config):
        body.write(chunk)
    return body.getvalue()


def hold_body(received: int, more: int) -> None:
    """Count bytes of the current request's body, which stay in memory until it ends.

    Args:
        received: bytes of this body so far; the first ones are not counted.
        more: how many of them are new.

    Raises:
        ProblemError: the bodies of all requests take too much.
    """
    if received > _UNCOUNTED:
        bodies = gateway().memory.bodies
        if bodies.enter(0, more) != "admitted":
            raise rejection("full")
        context().held.append(partial(bodies.leave, more))


def reserve(here: Gateway, current: RequestContext | None, size: int) -> Callable[[], None]:
    """Wait until there are `size` bytes of memory.

    Args:
        here: limits it.
        current: the request; None if it may be over.
        size: in bytes.

    Returns:
        A function that gives them back.

    Raises:
        DeadlineExceededError: the time is over.
        ProblemError: too many requests wait.
    """
    limit = here.memory.decoding(size)
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


def check_json(body: bytes) -> None:
    """Check the number of values in a JSON document before it is parsed, and reserve their memory.

    Raises:
        TooLargeError: more than _MAX_VALUES.
        DeadlineExceededError, ProblemError: see reserve().
    """
    if len(body) <= _PLAIN_BODY:
        return
    lists, values = body.count(b"[") + body.count(b"{"), body.count(b",")
    names = body.count(b":")
    if lists + values > _MAX_VALUES or names > _MAX_NAMES:
        raise TooLargeError(
            "body",
            expected=f"JSON of at most {_MAX_VALUES:,} values, lists and objects, and "
            f"{_MAX_NAMES:,} names",
            got=f"{lists + values:,} and {names:,}",
            hint="send fewer examples, or binary data: images, .npy, binary tensors of /v2",
        )
    hold(2 * len(body) + _LIST_BYTES * lists + _VALUE_BYTES * values)


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
    error = InvalidInputError(
        "Content-Encoding", expected="gzip or deflate", got=", ".join(codings)
    )
    raise ProblemError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        str(error),
        Code.INVALID_ARGUMENT,
        field=error.field,
        expected=error.expected,
        got=error.got,
        hint="Send it uncompressed, or with one of these.",
        headers={"Accept-Encoding": "gzip, deflate"},
    )


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
                out = inflater.decompress(data, _CHUNK)
                produced += len(out)
                if produced > most:
                    raise too_large(most, "more", " when decompressed")
                hold_body(produced, len(out))
                if out:
                    yield out
                data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                more = bool(data) or (len(out) == _CHUNK and not inflater.eof)
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


def _file(data: bytes, field: str, config: GatewayConfig) -> list[NamedExample]:
    """An array file if its first bytes say so, else an image."""
    if data.startswith(_NPY):
        return [NamedExample(field, _array(data, field))]
    if not data.startswith(_NPZ):
        return [NamedExample(field, data)]
    if spreadsheet := spreadsheet_name(data):
        raise InvalidInputError(
            field,
            expected="an image, a CSV file or an array file",
            got=spreadsheet,
            hint=SAVE_AS_CSV,
        )
    try:
        return _unzipped_arrays(data, field, config)
    except InvalidInputError:
        raise
    except Exception as error:
        # Damaged files make zipfile fail in many ways.
        raise InvalidInputError(
            field,
            expected="an image, or a whole .npz file of arrays",
            got=f"a damaged ZIP archive ({len(data):,} bytes)",
            hint=_ARCHIVE_HINT,
        ) from error


def _recognized(body: bytes, mimetype: str, config: GatewayConfig) -> list[NamedExample]:
    """Recognize a body by its content; empty if it is unknown text."""
    if body.lstrip().startswith(b"{"):
        return _json_examples(body, config)
    if not is_text(body):
        return _file(body, "body", config)
    fields = [("body", body.decode())]
    if mimetype == _FORM_FIELDS:
        # An unescaped "+" was read as a space, which base64 does not have.
        fields = [(name, text.replace(" ", "+")) for name, text in parse_qsl(body.decode())]
    return [
        NamedExample(name, _from_base64(text, name))
        for name, text in fields
        if text.startswith(_DATA_URL)
    ]


def _form_files(
    content_type: str, current: RequestContext, config: GatewayConfig
) -> list[NamedExample]:
    parts = read_form(content_type, body_chunks(current, config))
    files: list[NamedExample] = []
    for part in parts:
        if not part.filename and not part.data:
            continue  # a file input of a browser's form that was left empty
        if part.content_type in CSV_TYPES or (part.filename or "").lower().endswith(CSV_ENDINGS):
            files += _rows(part.data, part.label, config, part.charset)
        elif not part.is_text:
            files += _file(part.data, part.label, config)
        elif (text := part.data.decode()).startswith(_DATA_URL):
            files.append(NamedExample(part.label, _from_base64(text, part.label)))
    if not files:
        names = ", ".join(sorted({part.name for part in parts}))
        got = f"no file in {names}" if names else "no fields"
        raise InvalidInputError("body", expected="one or more files", got=got, hint=HINT)
    return files


def _rows(
    body: bytes, field: str, config: GatewayConfig, charset: str | None
) -> list[NamedExample]:
    if len(body) > _PLAIN_BODY:
        hold(_CSV_BYTES * len(body))
    rows = read_rows(
        body,
        field,
        most=config.max_instances + 1,
        encoding=charset,
        max_bytes=config.max_body_bytes,
        max_cells=_MAX_CELLS,
    )
    require_few(len(rows), config, got="more rows")
    return [NamedExample(f"{field} row {number}", row) for number, row in enumerate(rows, start=1)]


def _json_examples(body: bytes, config: GatewayConfig) -> list[NamedExample]:
    """Read `{"instances": [example, …]}` or `{"inputs": {name: [value, …]}}`."""
    if not body:
        raise InvalidInputError("body", expected='{"instances": […]}', got="0 bytes")
    check_json(body)
    try:
        document = _parsed(body)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            got, hint = "a file or text that is not UTF-8", HINT
        else:
            reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
            got, hint = f"something else ({reason})", ""
        raise InvalidInputError("body", expected="JSON", got=got, hint=hint) from error
    if isinstance(document, dict) and set(document) == {"inputs"}:
        return _columns(document["inputs"], config)
    if not isinstance(document, dict) or set(document) != {"instances"}:
        names = ", ".join(f"“{name}”" for name in document) if isinstance(document, dict) else ""
        raise InvalidInputError(
            "body",
            expected='an object with just "instances"',
            got=names or _json_type(document),
            hint='an image goes as {"instances": [{"b64": text}]}, a row as {"instances": [row]}',
        )
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise InvalidInputError(
            "instances", expected="a list with one or more examples", got=_json_type(instances)
        )
    require_few(len(instances), config)
    examples = []
    for index, value in enumerate(instances):
        field = f"instances[{index}]"
        try:
            examples.append(_instance(value, field))
        except InvalidInputError as error:
            # A copy: the traceback would keep the body in a reference cycle.
            examples.append(NamedExample(field, copy.copy(error)))
    return examples


def _parsed(body: bytes) -> Any:
    """Parse JSON; raises ValueError or RecursionError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # The standard library is slow, but reads more, and describes errors in more detail.
        if len(body) > _PLAIN_BODY and not _EXTENDED_JSON.search(body):
            raise
    return json.loads(body)


def _columns(inputs: Any, config: GatewayConfig) -> list[NamedExample]:
    """Split tensors by name, each with one value per example, into examples."""
    if not isinstance(inputs, dict) or not inputs:
        raise InvalidInputError(
            "inputs",
            expected="an object of arrays by the names of the inputs",
            got=_json_type(inputs),
        )
    count: int | None = None
    for name, values in inputs.items():
        if not isinstance(values, list) or not values:
            raise InvalidInputError(
                f"inputs.{name}",
                expected="a list with a value for each example",
                got=_json_type(values),
            )
        count = count or len(values)
        if len(values) != count:
            raise InvalidInputError(
                f"inputs.{name}",
                expected=f"{count} examples, as the others have",
                got=str(len(values)),
            )
        require_few(count, config)
    rows = zip(*inputs.values(), strict=True)
    return [
        NamedExample(f"inputs[{index}]", dict(zip(inputs, row, strict=True)))
        for index, row in enumerate(rows)
    ]


def _instance(value: Any, field: str) -> NamedExample:
    if isinstance(value, dict) and set(value) == {"b64"}:
        field, value = f"{field}.b64", value["b64"]
        if not isinstance(value, str):
            raise InvalidInputError(field, expected="base64 text", got=_json_type(value))
        return NamedExample(field, _from_base64(value, field))
    if isinstance(value, str):
        try:
            return NamedExample(field, _from_base64(value, field), value)
        except InvalidInputError as error:
            return NamedExample(field, copy.copy(error), value)
    if isinstance(value, (list, dict)):
        return NamedExample(field, value)
    raise InvalidInputError(
        field,
        expected='base64 text, {"b64": text}, an array of numbers or an object of columns',
        got=_json_type(value),
    )


def _from_base64(text: str, field: str) -> bytes:
    """Decode base64: standard or URL-safe (RFC 4648), padded or not, wrapped or not.

    It may be part of a data URL (RFC 2397).
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidInputError(
                field, expected="a data URL with ;base64, before the data", got=f"“{head[:40]}”"
            )
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise InvalidInputError(
            field,
            expected="an image file as base64, or an object with the inputs by name",
            got=f"text that starts with “{text[:16]}”",
        ) from error


def _json_type(value: object) -> str:
    """A JSON value in words, for error messages."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        kind = "object" if isinstance(value, dict) else "list"
        return f"{'a' if kind == 'list' else 'an'} {kind}" if value else f"an empty {kind}"
    names = {str: "text", bool: "a boolean"}
    return names.get(type(value), f"the number {value}"[:40])


def _unzipped_arrays(data: bytes, field: str, config: GatewayConfig) -> list[NamedExample]:
    """The arrays of a .npz file.

    Raises:
        InvalidInputError: it holds something else, or nothing.
        TooLargeError: more than config.max_instances arrays, or config.max_body_bytes unpacked.
        Exception: from zipfile, which damaged files make fail in many ways.
    """
    # Counted before zipfile reads the directory: each entry takes it half a kilobyte.
    if (listed := data.count(_ZIP_MEMBER)) > config.max_instances:
        raise TooLargeError(
            field, expected=f"at most {config.max_instances} arrays", got=f"{listed:,}"
        )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if not members:
            raise InvalidInputError(field, expected="one or more arrays", got="an empty .npz file")
        if any(member.compress_type not in _COMPRESSIONS for member in members):
            raise InvalidInputError(
                field,
                expected="a .npz file as numpy.savez_compressed writes it",
                got="one compressed in another way",
            )
        if other := next((m.filename for m in members if not m.filename.endswith(".npy")), None):
            raise InvalidInputError(
                field,
                expected="an image, or a .npz file of arrays",
                got=f"a ZIP archive with {other[:80]}",
                hint=_ARCHIVE_HINT,
            )
        unpacked = sum(member.file_size for member in members)
        if unpacked > config.max_body_bytes:
            raise TooLargeError(
                field,
                expected=f"at most {config.max_body_bytes} bytes unpacked",
                got=str(unpacked),
            )
        hold_body(unpacked, unpacked)
        named = {f"{field} ({each.filename.removesuffix('.npy')})": each for each in members}
        return [
            NamedExample(name, _array(_unzipped(archive, each), name))
            for name, each in named.items()
        ]


def _unzipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The content of a member; no more is decompressed than it declares."""
    with archive.open(member) as file:
        # Without a size, all is decompressed, and only then cut to what it declares.
        return file.read(member.file_size)


def _array(data: bytes, field: str) -> NDArray[Any]:
    """The array of a .npy file."""
    stream = io.BytesIO(data)
    try:
        read_header = _NPY_HEADERS[npy.read_magic(stream)]
        shape, fortran_order, dtype = read_header(stream)
    except Exception as error:
        # The header is a Python literal, which can be wrong in many ways.
        raise InvalidInputError(
            field, expected="a .npy file", got="something else or a damaged one", hint=_NPY_HINT
        ) from error
    # Checked before anything is allocated: a header can declare anything.
    if not is_possible_shape(shape):
        raise InvalidInputError(field, expected=f"a shape of {POSSIBLE_SHAPE}", got=str(shape))
    if dtype.kind not in "iuf":
        raise InvalidInputError(field, expected="numbers", got=f"dtype {dtype}", hint=_NPY_HINT)
    start = stream.tell()
    if prod(shape) > _PLAIN_BODY:
        hold(_ARRAY_BYTES * prod(shape))
    if prod(shape) * dtype.itemsize != len(data) - start:
        raise InvalidInputError(
            field,
            expected=f"{prod(shape) * dtype.itemsize} bytes of data for shape {list(shape)}",
            got=str(len(data) - start),
            hint="check that the upload is complete",
        )
    values = np.frombuffer(data, dtype, offset=start)
    return values.reshape(shape, order="F" if fortran_order else "C")
