"""JSON to tensors, as TensorFlow Serving's REST API does it (`json_tensor.cc`).

A predict body holds `instances`, one element for each example (the response has `predictions`), or
`inputs`, whole tensors (the response has `outputs`).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tfs_api.json_document import invalid, is_base64, parse, show, to_bytes, type_name
from tfs_api.signature import Signature, TensorSpec, tensorflow_name
from tfs_api.status import Code, StatusError

Arrays = dict[str, NDArray[Any]]

# The dtype that JSON numbers have before they become a tensor of a kind.
_WIDE: dict[str, Any] = {"f": np.float64, "i": np.int64, "u": np.uint64}
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
    """The body of a predict request.

    Attributes:
        signature_name: "" if none is given.
        by_row: whether it holds `instances`, not `inputs`.
        document: its root object.
    """

    signature_name: str
    by_row: bool
    document: dict[str, Any]


def parse_request(body: bytes | memoryview) -> JsonRequest:
    """Read the body of a predict request, as far as that needs no signature.

    Raises:
        StatusError: INVALID_ARGUMENT, not a JSON object, or its signature name is not a string.
    """
    document = parse(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {show(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {show(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return JsonRequest(name, "instances" in document, document)


def feeds(request: JsonRequest, signature: Signature) -> Arrays:
    """The tensors of a request, in the dtypes of the signature and the shapes of the request.

    Raises:
        StatusError: INVALID_ARGUMENT, a signature without inputs, not exactly one of `inputs` and
            `instances`, or values that are no tensor, or of another type; UNIMPLEMENTED, a dtype
            that JSON has no values for.
    """
    specs, document = signature.inputs, request.document
    if not specs:
        name = request.signature_name or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    try:
        if not request.by_row:
            if "inputs" not in document:
                raise invalid("Missing 'inputs' or 'instances' key")
            return _columns(document["inputs"], specs)
        if "inputs" in document:
            raise invalid(
                f"JSON Value: {show(document)} Not formatted correctly expecting only one of "
                "'inputs' or 'instances' keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {show(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {show(document)} No values in 'instances' array")
        return _rows(instances, specs)
    except RecursionError as error:
        raise invalid("JSON Parse error: Nested too deeply") from error


def signature_not_found(name: str) -> StatusError:
    """The error of a request for a signature that the model lacks."""
    return invalid(f'Serving signature name: "{name}" not found in signature def')


def _columns(value: Any, specs: Mapping[str, TensorSpec]) -> Arrays:
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
    arrays = {}
    for name, spec in specs.items():
        array = _to_array(value[name], spec.dtype)
        if array is None:
            try:
                _check(value[name], spec.dtype)
            except StatusError as error:
                # TensorFlow Serving does not name the input.
                which = f" (input {name!r})" if len(specs) > 1 else ""
                raise StatusError(error.code, error.message + which) from error
            raise invalid(f"expected input {name!r}: {spec}")
        arrays[name] = array
    return arrays


def _rows(rows: list[Any], specs: Mapping[str, TensorSpec]) -> Arrays:
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
    arrays = {}
    for name, spec in specs.items():
        array = _to_array(columns[name], spec.dtype)
        if array is None:
            _check_rows(rows, specs, named=named)
            raise invalid(f"expected input {name!r}: {spec}")
        arrays[name] = array
    return arrays


def _is_named(value: Any) -> bool:
    """Whether a value is an object of named inputs."""
    return isinstance(value, dict) and not is_base64(value)


def _to_array(value: Any, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The tensor of nested lists; None if they are not regular, or have values of another type."""
    shape: list[int] = []
    values = [value]
    while list in (types := set(map(type, values))):
        sizes = set(map(len, values)) if len(types) == 1 else set()
        if len(sizes) != 1:
            return None
        shape.append(sizes.pop())
        values = list(itertools.chain.from_iterable(values))
    kind = _kind(dtype)
    if not _TAKES.get(kind, frozenset()).issuperset(types):
        return None
    if kind == "O":
        texts = np.empty(len(values), dtype=object)
        try:
            texts[:] = [to_bytes(each) for each in values]
        except StatusError:
            return None
        return texts.reshape(shape)
    try:
        array = np.array(values, dtype=_WIDE.get(kind, dtype)).reshape(shape)
    except OverflowError:  # an integer beyond 64 bits
        return None
    if kind in "iu" and array.size and not _in_range(int(array.min()), int(array.max()), dtype):
        return None
    with np.errstate(over="ignore"):  # as in TensorFlow Serving, 1e39 is infinite as a float32
        return array.astype(dtype, copy=False)


def _kind(dtype: np.dtype[Any]) -> str:
    """NumPy's kind of a dtype, but bfloat16 is a float, and uint8 is read as int32."""
    if dtype == np.uint8:
        return "i"
    return "f" if dtype == ml_dtypes.bfloat16 else dtype.kind


def _in_range(low: int, high: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(np.int32 if dtype in _SMALL else dtype)
    return limits.min <= low and high <= limits.max


# What follows finds the error in values that are no tensor: value by value, in the order of
# TensorFlow Serving's `json_tensor.cc`, so that the first error is the one that it reports.


def _check_rows(rows: list[Any], specs: Mapping[str, TensorSpec], *, named: bool) -> None:
    """Check the rows of `instances`.

    Raises:
        StatusError: INVALID_ARGUMENT, the first row that does not go with those before it.
    """
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
                f"JSON object: {show(row)} keys must be equal to: {','.join(sorted(specs))}"
            )


def _check(value: Any, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Check the values of a tensor.

    Returns:
        Its shape.

    Raises:
        StatusError: INVALID_ARGUMENT, a value of another type or at another depth; UNIMPLEMENTED, a
            dtype that JSON has no values for.
    """
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
        raise invalid(
            f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
            f"Expected at level: {rank}"
        )
    kind = _kind(dtype)
    if kind not in _TAKES:
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {show(value)} to type: {tensorflow_name(dtype)}",
        )
    if kind == "O" and isinstance(value, (str, dict)):
        to_bytes(value)
    elif type(value) not in _TAKES[kind] or (kind in "iu" and not _in_range(value, value, dtype)):
        raise invalid(
            f"JSON Value: {show(value)} Type: {type_name(value)} is not of expected type: "
            f"{tensorflow_name(dtype)}"
        )
