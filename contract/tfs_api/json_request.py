"""JSON request bodies of TensorFlow Serving's REST API (`json_tensor.cc`), to tensors and Examples.

A predict body holds `instances`, one element for each example (the response has `predictions`), or
`inputs`, whole tensors (the response has `outputs`). A classify or regress body holds `examples`,
one object of features each, and optionally `context`, an object of features shared by all of them.
A feature is a value or a flat list of values of one kind:

    JSON                              kind
    1, true                           int64
    1.0, 1e0, NaN                     float
    "text", {"b64": "<base64>"}       bytes

orjson parses standard JSON. The standard library parses what orjson rejects, because TensorFlow
Serving accepts more: NaN and Infinity, text that is not UTF-8, and anything after the document.
"""

import array
import base64
import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import ml_dtypes
import numpy as np
import orjson
from numpy.typing import NDArray

from tfs_api.json_pieces import parse_in_pieces
from tfs_api.messages.example_pb2 import Example, Feature
from tfs_api.messages.inference_pb2 import ExampleList, ExampleListWithContext, Input
from tfs_api.signature import Signature, TensorSpec, tensorflow_name
from tfs_api.status import Code, StatusError, invalid

Arrays = dict[str, NDArray[Any]]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = " \t\n\r"
_STRING = r'"(?:[^"\\]|\\.)*"?'
# RapidJSON's other names of NaN and Infinity.
_SHORT_TOKENS = re.compile(rf"{_STRING}|-NaN|Inf(?!inity)", re.DOTALL)
_LONG_TOKENS = {"-NaN": "NaN", "Inf": "Infinity"}
# What only the standard library can parse, or explain: how it starts, or orjson's error.
_EXTENSIONS = ("N", "I", "-")
_ACCEPTED = re.compile("after document|surrogate|infinity")
# The escape of a high surrogate without a low one after it.
_HALF_PAIR = re.compile(
    r"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_BROKEN_PAIR = "JSON Parse error: The surrogate pair in string is invalid."
_TOO_DEEP = "JSON Parse error: Nested too deeply"
_TYPES: dict[type, str] = {dict: "Object", list: "Array", str: "String", type(None): "Null"}
_TYPES |= {int: "Number", float: "Number"}
# Maximum length of a value in a message, in characters.
_SHOWN = 256
_INT64_MAX = 2**63 - 1
# The types, of the array module, that JSON numbers have before they become a tensor of a kind.
_WIDE = {"f": "d", "i": "q", "u": "Q"}
# TensorFlow Serving reads values of these as int32 and keeps their low bits.
_SMALL = (np.int8, np.int16, np.uint8)
# The types of JSON values that a tensor of a kind takes.
_TAKES = {
    "f": frozenset({int, float}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "b": frozenset({bool}),
    "O": frozenset({str, dict}),
}


@dataclass(frozen=True)
class JsonRequest:
    """The body of a predict request: its root object.

    Attributes:
        signature_name: "" if none is given.
        by_row: whether it holds `instances`, not `inputs`.
        booleans: whether there may be some among its values.
    """

    signature_name: str
    by_row: bool
    booleans: bool
    document: dict[str, Any]


@dataclass(frozen=True)
class ExamplesRequest:
    """The body of a classify or regress request; `signature_name` is "" if none is given."""

    signature_name: str
    input: Input


def parse_predict(body: bytes | memoryview) -> JsonRequest:
    """Parse the body of a predict request; `feeds` reads its tensors."""
    document, name = _parse_object(body)
    text = bytes(body)
    # A search for one letter first: it takes a fifth of the time of a word.
    booleans = (b"r" in text and b"true" in text) or (b"l" in text and b"false" in text)
    return JsonRequest(name, "instances" in document, booleans, document)


def feeds(request: JsonRequest, signature: Signature) -> Arrays:
    """The tensors of a request, in the dtypes of the signature and the shapes of the request.

    Raises:
        StatusError: INVALID_ARGUMENT if the signature has no inputs, the request does not have
            exactly one of `inputs` and `instances`, or its values are not regular or of another
            type; UNIMPLEMENTED if JSON has no values for a dtype.
    """
    specs, document = signature.inputs, request.document
    if not specs:
        name = request.signature_name or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    try:
        if not request.by_row:
            if "inputs" not in document:
                raise invalid("Missing 'inputs' or 'instances' key")
            return _columns(document["inputs"], specs, request.booleans)
        if "inputs" in document:
            what = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys"
            raise _malformed(document, f"{what} to exist ")
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _malformed(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _malformed(document, "No values in 'instances' array")
        return _rows(instances, specs, request.booleans)
    except RecursionError as error:
        raise invalid(_TOO_DEEP) from error


def signature_not_found(name: str) -> StatusError:
    """The error for a signature that the model does not have."""
    return invalid(f'Serving signature name: "{name}" not found in signature def')


def parse_examples(body: bytes | memoryview) -> ExamplesRequest:
    """Parse the body of a classify or regress request."""
    document, name = _parse_object(body)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        # A gRPC request cannot contain this name.
        text = f"Serving signature name: {_show(name)} not found in signature def"
        raise invalid(text) from error
    context = _example(document["context"]) if "context" in document else None
    if "examples" not in document:
        # TensorFlow Serving writes "classify" for regress, too.
        what = "When method is classify, key 'examples' is expected and was not found"
        raise _malformed(document, what)
    listed = document["examples"]
    if not isinstance(listed, list):
        raise _malformed(document, "Expecting 'examples' value to be an list/array")
    if not listed:
        raise _malformed(document, "'examples' value is an empty array")
    examples = [_example(value) for value in listed]
    if context is None:
        return ExamplesRequest(name, Input(example_list=ExampleList(examples=examples)))
    with_context = ExampleListWithContext(examples=examples, context=context)
    return ExamplesRequest(name, Input(example_list_with_context=with_context))


def parse(body: bytes | memoryview) -> Any:
    """Parse JSON as TensorFlow Serving does, else raise INVALID_ARGUMENT.

    Integers of more than 64 bits become floats. Bytes that are not UTF-8 become surrogate escapes.
    """
    body = bytes(body[3:] if body[:3] == _BYTE_ORDER_MARK else body)
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    return parse_in_pieces(body, _parse_piece)[0]


def _parse_piece(body: bytes, start: int) -> Any:
    """Parse a part of a document at an offset."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("depth limit"):
            raise invalid(_TOO_DEEP) from error
        found = error.doc[error.pos : error.pos + 1]
        if error.doc and found not in _EXTENSIONS and not _ACCEPTED.search(error.msg):
            offset = start + len(error.doc[: error.pos].encode())
            raise invalid(f"JSON Parse error: {error.msg} at offset: {offset}") from error
        text = body.decode("utf-8", "surrogateescape")
    if "Inf" in text or "-NaN" in text:
        text = _SHORT_TOKENS.sub(lambda match: _LONG_TOKENS.get(match[0], match[0]), text)
    decoder = json.JSONDecoder(parse_float=_to_float, parse_int=_to_int)
    try:
        value, end = decoder.raw_decode(text, len(text) - len(text.lstrip(_WHITE_SPACE)))
    except json.JSONDecodeError as error:
        offset = start + len(text[: error.pos].encode("utf-8", "surrogateescape"))
        raise invalid(f"JSON Parse error: {error.msg} at offset: {offset}") from error
    except RecursionError as error:
        raise invalid(_TOO_DEEP) from error
    if "\\u" in text and _HALF_PAIR.search(text, 0, end):
        raise invalid(_BROKEN_PAIR)
    return value


def _parse_object(body: bytes | memoryview) -> tuple[dict[str, Any], str]:
    """The root object of a body and its signature name."""
    document = parse(body)
    if not isinstance(document, dict):
        raise _malformed(document, "Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        what = "not formatted correctly. 'signature_name' key must be a string value."
        raise _malformed(document, what)
    return document, name


def _to_float(token: str) -> float:
    value = float(token)
    if value in (inf, -inf):
        raise invalid(f"JSON Parse error: {token[:40]} is too large for a double")
    return value


def _to_int(token: str) -> int | float:
    value = int(token) if len(token) <= 20 else 2**64
    return value if -(2**63) <= value < 2**64 else _to_float(token)


def _malformed(value: Any, what: str) -> StatusError:
    return invalid(f"JSON Value: {_show(value)} {what}")


def _show(value: Any) -> str:
    """A value for messages, shortened if it is long."""
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece[: _SHOWN + 1]
        if len(text) > _SHOWN:
            return text[:_SHOWN] + "..."
    return text


def _type_name(value: Any) -> str:
    """TensorFlow Serving's name of a JSON value's type."""
    return str(value) if isinstance(value, bool) else _TYPES[type(value)]


def _is_base64(value: Any) -> bool:
    """Whether a value is an object that stands for bytes: `{"b64": "…"}`."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _to_bytes(value: str | dict[str, Any]) -> bytes:
    """The bytes of a string or of an object with base64."""
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise invalid(_BROKEN_PAIR) from error
    if not _is_base64(value):
        raise _malformed(value, "not formatted correctly for base64 data")
    data = value["b64"].encode("utf-8", "surrogatepass")
    for attempt in (data, b"".join(data.split()).replace(b".", b"=")):
        # TensorFlow Serving's decoder skips white space and needs no padding.
        padded = attempt if b"=" in attempt else attempt + b"=" * (-len(attempt) % 4)
        try:
            # Python ignores excess padding.
            if len(padded) % 4 == 0 and not padded.endswith(b"==="):
                return base64.b64decode(padded, validate=True)
        except ValueError:
            pass
    raise invalid("Unable to base64 decode")


def _columns(value: Any, specs: Mapping[str, TensorSpec], booleans: bool) -> Arrays:
    """The tensors of `inputs`."""
    if not _is_named(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        value = dict.fromkeys(specs, value)
    for name in specs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")

    def check(name: str) -> None:
        try:
            _check(value[name], specs[name].dtype)
        except StatusError as error:
            # TensorFlow Serving does not name the input.
            which = f" (input {name!r})" if len(specs) > 1 else ""
            raise StatusError(error.code, error.message + which) from error

    return _to_arrays(value, specs, booleans, check)


def _rows(rows: list[Any], specs: Mapping[str, TensorSpec], booleans: bool) -> Arrays:
    """The tensors of `instances`."""
    named = _is_named(rows[0])
    if not named and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    columns: dict[str, Any] = dict.fromkeys(specs, rows)
    if named:
        if not all(_is_named(row) and row.keys() == specs.keys() for row in rows):
            _check_rows(rows, specs, named=named)
        columns = {name: [row[name] for row in rows] for name in specs}
    return _to_arrays(columns, specs, booleans, lambda _: _check_rows(rows, specs, named=named))


def _to_arrays(
    values: Mapping[str, Any],
    specs: Mapping[str, TensorSpec],
    booleans: bool,
    check: Callable[[str], None],
) -> Arrays:
    """The tensors of values by name; `check` raises the error of an input that is not a tensor."""
    arrays = {}
    for name, spec in specs.items():
        found = _to_array(values[name], spec.dtype, booleans)
        if found is None:
            check(name)
            raise invalid(f"expected input {name!r}: {spec}")
        arrays[name] = found
    return arrays


def _is_named(value: Any) -> bool:
    """Whether a value is an object of named inputs."""
    return isinstance(value, dict) and not _is_base64(value)


def _to_array(value: Any, dtype: np.dtype[Any], booleans: bool) -> NDArray[Any] | None:
    """The tensor of nested lists; None if they are ragged or have values of another type."""
    shape: list[int] = []
    values = [value]
    while values and isinstance(values[0], list):
        sizes = set(map(len, values)) if set(map(type, values)) == {list} else set()
        if len(sizes) != 1:
            return None
        shape.append(sizes.pop())
        values = list(itertools.chain.from_iterable(values))
    kind = _kind(dtype)
    # Only booleans pass for numbers below. To look at the type of each value takes as long as to
    # convert it.
    checked = booleans or kind not in _WIDE
    if checked and not _TAKES.get(kind, frozenset()).issuperset(map(type, values)):
        return None
    try:
        if kind == "O":
            return np.array([_to_bytes(each) for each in values], object).reshape(shape)
        if kind not in _WIDE:
            return np.array(values, dtype).reshape(shape)
        # Not the dtype "q", which NumPy and LiteRT distinguish from int64.
        wide = np.frombuffer(array.array(_WIDE[kind], values), f"{kind}8").reshape(shape)
    except (StatusError, TypeError, OverflowError):  # an integer of more than 64 bits
        return None
    if kind in "iu" and wide.size and not _in_range(int(wide.min()), int(wide.max()), dtype):
        return None
    with np.errstate(over="ignore"):  # as in TensorFlow Serving, 1e39 is infinite as a float32
        return wide.astype(dtype, copy=False)


def _kind(dtype: np.dtype[Any]) -> str:
    """NumPy's kind of a dtype, but bfloat16 is a float, and uint8 is read as int32."""
    if dtype == np.uint8:
        return "i"
    return "f" if dtype == ml_dtypes.bfloat16 else dtype.kind


def _in_range(low: int, high: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(np.int32 if dtype in _SMALL else dtype)
    return limits.min <= low and high <= limits.max


# The functions below find the error in values that are not a tensor. They check value by value, in
# the order of TensorFlow Serving's `json_tensor.cc`, so that the first error is the one it reports.


def _check_rows(rows: list[Any], specs: Mapping[str, TensorSpec], *, named: bool) -> None:
    """Raise INVALID_ARGUMENT for the first row of `instances` that differs from those before it."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, row in enumerate(rows):
        if named != _is_named(row):
            found = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {found} at item {index} of input list")
        for name, value in row.items() if named else [(next(iter(specs)), row)]:
            try:
                if name not in specs:
                    raise invalid(f"JSON object: does not have named input: {name}")
                shape = _check(value, specs[name].dtype)
                first = shapes.setdefault(name, shape)
                if prod(first) != prod(shape):
                    raise invalid(f"Expecting tensor size: {prod(first)} but got: {prod(shape)}")
                if first != shape:
                    expected, got = (f"[{','.join(map(str, each))}]" for each in (first, shape))
                    raise invalid(f"Expecting shape {expected} but got: {got}")
            except StatusError as error:
                where = f"{index} key: {name}" if named else str(index)
                raise invalid(
                    f"Failed to process element: {where} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from error
        if named and row.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. "
                f"JSON object: {_show(row)} keys must be equal to: {','.join(sorted(specs))}"
            )


def _check(value: Any, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Check the values of a tensor and return its shape."""
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    _check_level(value, 0, shape, dtype)
    return tuple(shape)


def _check_level(value: Any, level: int, shape: list[int], dtype: np.dtype[Any]) -> None:
    rank = len(shape)
    if isinstance(value, list):
        if level >= rank:
            raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {shape[level]}"
            )
        for item in value:
            _check_level(item, level + 1, shape, dtype)
        return
    if level != rank:
        what = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
        raise _malformed(value, what)
    kind, name = _kind(dtype), tensorflow_name(dtype)
    if kind not in _TAKES:
        what = f"Conversion of JSON Value: {_show(value)} to type: {name}"
        raise StatusError(Code.UNIMPLEMENTED, what)
    if kind == "O" and isinstance(value, (str, dict)):
        _to_bytes(value)
    elif type(value) not in _TAKES[kind] or (kind in "iu" and not _in_range(value, value, dtype)):
        raise _malformed(value, f"Type: {_type_name(value)} is not of expected type: {name}")


def _example(value: Any) -> bytes:
    """The serialized tf.Example of an object of features."""
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {_type_name(value)}")
    example = Example()
    for name, content in value.items():
        try:
            feature = example.features.feature[name]
        except ValueError as error:
            raise invalid(f"Feature: {_show(name)} has a name that is not UTF-8 text") from error
        _fill(feature, name, content if isinstance(content, list) else [content])
    return example.SerializeToString()


def _fill(feature: Feature, name: str, values: list[Any]) -> None:
    if set(map(type, values)) == {float}:  # all at once, because such a list may be an image
        feature.float_list.value.extend(values)
        return
    for value in values:
        if isinstance(value, int):  # or bool
            kind = "int64_list"
        elif isinstance(value, float):
            kind = "float_list"
        elif isinstance(value, str) or _is_base64(value):
            kind = "bytes_list"
        else:
            raise invalid(
                f"Feature: {name} has element with unexpected JSON type: {_type_name(value)}"
            )
        if (was := feature.WhichOneof("kind")) not in (None, kind):
            expected = str(was).removesuffix("_list")
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
        if kind == "bytes_list":
            feature.bytes_list.value.append(_to_bytes(value))
        elif kind == "float_list":
            feature.float_list.value.append(value)
        elif value > _INT64_MAX:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        else:
            feature.int64_list.value.append(int(value))
