"""Request bodies, read as examples.

A body holds a raw image or array, a form with files, JSON instances or CSV rows. NumPy's files come
from strangers: they are read without pickle, and their size is checked before memory is allocated.
"""

import base64
import codecs
import copy
import io
import json
import re
import string
import zipfile
from math import prod
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
import numpy as np
import orjson
from numpy.lib import format as npy
from numpy.typing import NDArray
from werkzeug.http import parse_options_header

from rockstar_contract.csv_rows import (
    CSV_ENDINGS,
    GZIP,
    SAMPLE_SIZE,
    SAVE_AS_CSV,
    find_encoding,
    is_table,
    read_rows,
    spreadsheet_name,
)
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.inputs import Example
from rockstar_contract.limits import POSSIBLE_SHAPE, is_possible_shape
from rockstar_contract.tables import TextRow
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.errors import UnsupportedTypeError
from rockstar_serving.gateway.forms import Part, read_form
from rockstar_serving.gateway.receiving import (
    PLAIN_BODY,
    body_chunks,
    hold,
    hold_body,
    reading,
    reading_json,
    whole_body,
)
from rockstar_serving.gateway.settings import GatewayConfig
from tfs_api.json_pieces import parse_in_pieces

TYPES = "image/*, multipart/form-data, application/json, application/x-npy or text/csv"
HINT = (
    "curl -F image=@seven.png or -F rows=@rows.csv sends a file; "
    "curl -H 'Content-Type: text/csv' --data-binary @rows.csv too"
)
CSV_TYPES = ("text/csv", "text/tab-separated-values", "application/csv")
_JSON_TYPES = ("application/json", "text/json")
_RAW_TYPES = ("image/", "application/octet-stream", "application/x-npy", "application/x-npz")
_FORM_FIELDS = "application/x-www-form-urlencoded"
# Most fields of a form that is no multipart form.
_MAX_FIELDS = 1000
# Most values of a CSV file: a few bytes each, but many in memory.
_MAX_CELLS = 500_000
# For each byte of a CSV file: its text, and the reader's copy with four bytes a character.
_CSV_BYTES = 8
# For each number of an array file: as float32, alone and in the batch.
_ARRAY_BYTES = 8
_ZIP_MEMBER = b"PK\1\2"
# Characters of base64 that are decoded at a time, which takes a few milliseconds.
_BASE64_PIECE = 2**20
# A data URL, as of a browser's canvas or FileReader, which knows no type of some files; and how
# base64 of a PNG, JPEG, GIF and WebP begins.
_BASE64 = re.compile(rb"\s*+((?i:data:[^,]{0,200};base64,)|iVBORw0KGgo|/9j/|R0lGOD|UklGR)")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/_=\s-]")
_JSON = re.compile(rb"(\xef\xbb\xbf)?\s*+(\{|\[\s*+[\"\[{\]\d-]|\"data:)")

# The escape of half a surrogate pair in JSON.
_SURROGATE = re.compile(rb"\\\0*u\0*[dD]\0*[89a-fA-F]")  # \0: in UTF-16

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
        value: the text or number itself, for models that take tensors; None for other examples.
    """

    field: str
    example: Example | InvalidInputError
    value: str | float | None = None

    def get(self) -> Example:
        """The example; raises InvalidInputError if it is invalid."""
        if isinstance(self.example, InvalidInputError):
            raise copy.copy(self.example)
        return self.example


def read_examples(current: RequestContext, config: GatewayConfig) -> list[NamedExample]:
    """Read the examples of a request, in order; one or more.

    Raises:
        InvalidInputError: the body cannot be read.
        TooLargeError: over config.max_body_bytes, or more examples than config.max_instances.
        UnsupportedTypeError: another content type.
    """
    content_type = current.header("content-type") or ""
    mimetype = content_type.partition(";")[0].strip().lower()
    if mimetype == "multipart/form-data":
        examples = _form_files(content_type, current, config)
    elif mimetype in _JSON_TYPES or mimetype.endswith("+json"):
        examples = _json_examples(whole_body(current, config), config)
    elif mimetype in CSV_TYPES:
        charset = parse_options_header(content_type)[1].get("charset")
        examples = _rows(whole_body(current, config), "body", config, charset)
    else:
        # Clients have defaults: curl sends forms' type for any data, fetch() text/plain for text.
        body = whole_body(current, config)
        examples = _recognized(body, "body", config)
        if not examples and mimetype == _FORM_FIELDS and body.count(b"&") < _MAX_FIELDS:
            # Latin-1 keeps the bytes of a file.
            pairs = parse_qsl(body.decode("latin-1"), encoding="latin-1")
            sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
            fields = [(name.decode(errors="replace"), value) for name, value in sent]
            examples = _fields(fields, config)
        if not examples and (mimetype.startswith(_RAW_TYPES) or not body):
            examples = _file(body, "body", config)
    if not examples:
        raise UnsupportedTypeError(
            "Content-Type", expected=TYPES, got=mimetype or "none", hint=HINT
        )
    require_few(len(examples), config)
    return examples


def require_few(examples: int, config: GatewayConfig, got: str = "") -> None:
    """Raise a TooLargeError if a request has more than config.max_instances examples.

    `got` is their number in words, if counting stopped early.
    """
    if examples > config.max_instances:
        raise TooLargeError(
            "body",
            expected=f"at most {config.max_instances} examples",
            got=got or str(examples),
            hint="send several requests; `rockstar predict` divides files itself",
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


def _recognized(data: bytes, field: str, config: GatewayConfig) -> list[NamedExample]:
    """Read a file or text by its content; empty if it is unknown text."""
    if _JSON.match(data):
        return _json_examples(data, config)
    if _BASE64.match(data):
        content = _from_base64(data.decode(errors="replace"), field)
        return _recognized(content, field, config) or _file(content, field, config)
    if data.startswith(GZIP):
        return _rows(data, field, config, None)
    encoding = _encoding(data)
    if encoding and is_table(data[:SAMPLE_SIZE].decode(encoding, errors="ignore")):
        return _rows(data, field, config, "utf-8" if encoding == "utf-8" else None)
    return [] if encoding == "utf-8" else _file(data, field, config)


def _encoding(data: bytes) -> str:
    """The encoding of bytes that may be text; empty if they are an image or array file."""
    if _is_text(data):
        return "utf-8"
    if b"\0" in data and not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ""  # most files, found sooner than by decoding
    try:
        return find_encoding(data, "body")
    except InvalidInputError:
        return ""


def _is_text(data: bytes) -> bool:
    """Whether bytes are text rather than an image or array file."""
    try:
        # Not all of it, which takes up to four times the memory; the last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(data[:SAMPLE_SIZE])
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _fields(fields: list[tuple[str, bytes]], config: GatewayConfig) -> list[NamedExample]:
    """Read a form's fields by name: files and JSON by their content, else one row."""
    examples: list[NamedExample] = []
    row = TextRow()
    for name, value in fields:
        # An unescaped "+" was read as a space, which base64 does not have.
        data = value.replace(b" ", b"+") if _BASE64.match(value) else value
        if b"\0" in data or _is_text(data):  # else text of a page in another encoding
            examples += _recognized(data, name, config)
            require_few(len(examples), config, got="more")
        row[name] = value.decode(errors="replace")
    return examples or ([NamedExample("body", row)] if row else [])


def _is_text_field(part: Part) -> bool:
    """Whether a part of a form is the value of an ordinary field: text without a file name."""
    typed_as_file = part.content_type.startswith(("image/", "application/octet-stream"))
    return not part.filename and not typed_as_file and _is_text(part.data)


def _form_files(
    content_type: str, current: RequestContext, config: GatewayConfig
) -> list[NamedExample]:
    parts = read_form(content_type, body_chunks(current, config))
    files: list[NamedExample] = []
    fields: list[tuple[str, bytes]] = []
    for part in parts:
        require_few(len(files), config, got="more")
        if not part.filename and not part.data:
            continue  # a file input of a browser's form that was left empty
        if part.content_type in CSV_TYPES or (part.filename or "").lower().endswith(CSV_ENDINGS):
            files += _rows(part.data, part.label, config, part.charset)
        elif not _is_text_field(part):
            recognized = _recognized(part.data, part.label, config)
            files += recognized or _file(part.data, part.label, config)
        elif _BASE64.match(part.data):
            files += _recognized(part.data, part.label, config)
        else:
            fields.append((part.name, part.data))
    files = files or _fields(fields, config)
    if not files:
        names = ", ".join(sorted({part.name for part in parts}))
        got = f"no file in {names}" if names else "no fields"
        raise InvalidInputError("body", expected="one or more files", got=got, hint=HINT)
    return files


def _rows(
    body: bytes, field: str, config: GatewayConfig, charset: str | None
) -> list[NamedExample]:
    if len(body) > PLAIN_BODY:
        hold(_CSV_BYTES * len(body))
    with reading(len(body)):
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
    """Read `{"instances": [example, …]}`, `{"inputs": {name: [value, …]}}`, or a data frame."""
    if not body:
        raise InvalidInputError("body", expected='{"instances": […]}', got="0 bytes")
    try:
        with reading_json(body):
            document = _parsed(body)
    except InvalidInputError:
        raise
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            got, hint = "a file, a form or text that is not UTF-8", HINT
        else:
            reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
            got, hint = f"something else ({reason})", ""
        raise InvalidInputError("body", expected="JSON", got=got, hint=hint) from error
    name, instances = _listed(document)
    if name == "inputs" and not isinstance(instances, (list, str)):
        return _columns(instances, config)
    if isinstance(instances, (str, dict)) and instances:
        instances = [instances]  # one example alone
    if not isinstance(instances, list) or not instances:
        raise InvalidInputError(
            name, expected="a list with one or more examples", got=_json_type(instances)
        )
    require_few(len(instances), config)
    examples = []
    for index, value in enumerate(instances):
        field = f"{name}[{index}]"
        try:
            examples.append(_instance(value, field))
        except InvalidInputError as error:
            # A copy: the traceback would keep the body in a reference cycle.
            examples.append(NamedExample(field, copy.copy(error)))
    return examples


def _listed(document: Any) -> tuple[str, Any]:
    """The name and the value of the examples, as for TensorFlow Serving, pandas or MLflow."""
    if isinstance(document, list):
        return "instances", document
    if isinstance(document, str) and _BASE64.match(document[:300].encode(errors="replace")):
        return "instances", document
    match document:
        case {"columns": list(columns), "data": list(rows), **rest} if rest.keys() <= {"index"}:
            return "data", [_row(row, columns, f"data[{n}]") for n, row in enumerate(rows)]
        case {"dataframe_split": split} if len(document) == 1:
            return _listed(split)
        case {"instances": examples} | {"inputs": examples} | {"dataframe_records": examples} if (
            len(document) == 1
        ):
            return next(iter(document)), examples
    names = ", ".join(f"“{name}”" for name in document) if isinstance(document, dict) else ""
    raise InvalidInputError(
        "body",
        expected='an object with just "instances"',
        got=names or _json_type(document) + ", as JSON encoded twice" * isinstance(document, str),
        hint='an image goes as {"instances": [{"b64": text}]}, a row as {"instances": [row]}, '
        'a text as {"instances": [text]}',
    )


def _row(values: Any, columns: list[Any], field: str) -> dict[str, Any]:
    if not isinstance(values, list) or len(values) != len(columns):
        got = f"{len(values)} values" if isinstance(values, list) else _json_type(values)
        raise InvalidInputError(field, expected=f"{len(columns)} values, as columns", got=got)
    return dict(zip(map(str, columns), values, strict=True))


def _parsed(body: bytes) -> Any:
    """Parse JSON; raises ValueError or RecursionError."""
    document, end = parse_in_pieces(body, _parse_piece)
    if body[end:].strip():
        raise ValueError(f"more after its end, at offset {end}")
    return document


def _parse_piece(body: bytes, _start: int) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # The standard library is slow, but reads more, such as NaN, and describes errors in detail.
        document = json.loads(body)
        if not _SURROGATE.search(body):
            return document
        # Half a surrogate pair, which JavaScript leaves of a cut emoji, becomes U+FFFD.
        text = json.dumps(document, ensure_ascii=False)
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


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
    invalid = InvalidInputError(
        field,
        expected='base64 text, {"b64": text}, an array of numbers or an object of columns',
        got=_json_type(value),
    )
    return NamedExample(field, invalid, value)


def _from_base64(text: str, field: str) -> bytes:
    """Decode base64: standard or URL-safe (RFC 4648), padded or not, wrapped or not.

    It may be part of a data URL (RFC 2397).
    """
    text = text.lstrip()
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidInputError(
                field, expected="a data URL with ;base64, before the data", got=f"“{head[:40]}”"
            )
        text = unquote(text)
    end = len(text.rstrip(f"={string.whitespace}"))
    decoded, piece = io.BytesIO(), ""
    try:
        for start in range(0, end, _BASE64_PIECE):
            characters = "".join(text[start : min(end, start + _BASE64_PIECE)].split())
            piece += characters.replace("-", "+").replace("_", "/")
            whole = len(piece) - len(piece) % 4
            if "=" in piece:
                raise ValueError("padding before the end")
            decoded.write(base64.b64decode(piece[:whole], validate=True))
            piece = piece[whole:]
        decoded.write(base64.b64decode(piece + "=" * (-len(piece) % 4), validate=True))
        return decoded.getvalue()
    except ValueError as error:
        raise InvalidInputError(
            field,
            expected="an image file as base64, or an object with the inputs by name",
            got=f"text that starts with “{text[:16]}”, {_fault(text)}",
            hint=(
                "decode() the bytes of base64.b64encode(), str() adds b'…'"
                if text.startswith(("b'", 'b"'))
                else "send the content of the file: no URLs or paths are opened"
            ),
        ) from error


def _fault(text: str) -> str:
    """What makes a text invalid as base64."""
    if other := _NOT_BASE64.search(text):
        return f"and has “{other[0]}” at offset {other.start()}"
    return "and is cut off or has “=” before its end"


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
                field, expected=f"at most {config.max_body_bytes} bytes unpacked", got=str(unpacked)
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
    if prod(shape) > PLAIN_BODY:
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
