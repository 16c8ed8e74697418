"""JSON to tensors, as TensorFlow Serving's REST API does it (`json_tensor.cc`).

A predict body holds `instances`, one element for each example (answered by `predictions`), or
`inputs`, whole tensors (answered by `outputs`).
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.api.nested_lists import leaf_types
from serving.api.signature import Signature, TensorSpec, dtype_name
from serving.api.status import Code, StatusError

# NumPy kinds that JSON numbers may have for a tensor of the kind named first.
_KINDS = {"f": "iuf", "V": "iuf", "i": "iu", "u": "iu", "b": "b"}


@dataclass(frozen=True)
class JsonRequest:
    """The body of a predict request.

    Attributes:
        signature_name: "" where none is given.
        by_row: it held `instances`, not `inputs`.
        value: what it held there.
    """

    signature_name: str
    by_row: bool
    value: Any


def parse_request(body: bytes) -> JsonRequest:
    """Read the body of a predict request.

    Raises:
        StatusError: INVALID_ARGUMENT, not JSON or not with exactly one of the two forms.
    """
    document = _parse(body)
    if not isinstance(document, dict):
        raise _invalid(f"JSON Value: {_brief(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _invalid(
            f"JSON Value: {_brief(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    by_row = "instances" in document
    if by_row and "inputs" in document:
        raise _invalid(
            f"JSON Value: {_brief(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if not by_row and "inputs" not in document:
        raise _invalid("Missing 'inputs' or 'instances' key")
    value = document["instances" if by_row else "inputs"]
    if by_row and not isinstance(value, list):
        # TensorFlow Serving says "Excepting"; clients match the key's name, not the slip.
        raise _invalid(f"JSON Value: {_brief(document)} Expecting 'instances' to be an list/array")
    if by_row and not value:
        raise _invalid(f"JSON Value: {_brief(document)} No values in 'instances' array")
    return JsonRequest(name, by_row, value)


def feeds(request: JsonRequest, signature: Signature) -> dict[str, NDArray[Any]]:
    """The tensors of a request, in the dtypes of the signature; shapes are as sent.

    Raises:
        StatusError: INVALID_ARGUMENT, values that are no tensor, or of another type.
    """
    columns = _rows(request.value, signature) if request.by_row else _columns(request, signature)
    return {name: _tensor(name, value, signature.inputs[name]) for name, value in columns.items()}


def _parse(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # perhaps for NaN or Infinity, which are no JSON but allowed here: ask the slower one
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        reason = "The document is empty" if not body.strip() else error.msg
        raise _invalid(f"JSON Parse error: {reason} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise _invalid(
            f"JSON Parse error: Invalid encoding in string at offset: {error.start}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise _invalid(
            "JSON Parse error: Nested too deeply or a number too long at offset: 0"
        ) from error


def _columns(request: JsonRequest, signature: Signature) -> dict[str, Any]:
    value = request.value
    if not _is_object(value):
        if len(signature.inputs) > 1:
            raise _invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        return dict.fromkeys(signature.inputs, value)
    for name in signature.inputs:
        if name not in value:
            raise _invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: value[name] for name in signature.inputs}


def _rows(instances: list[Any], signature: Signature) -> dict[str, Any]:
    if not _is_object(instances[0]):
        if len(signature.inputs) > 1:
            raise _invalid(
                "instances is a plain list, but expecting list of objects as multiple "
                "input tensors required as per tensorinfo_map"
            )
        for index, row in enumerate(instances):
            if _is_object(row):
                raise _invalid(f"Expecting value/list but got object at item {index} of input list")
        return dict.fromkeys(signature.inputs, instances)
    for index, row in enumerate(instances):
        if not _is_object(row):
            raise _invalid(f"Expecting object but got list at item {index} of input list")
        if row.keys() != signature.inputs.keys():
            raise _invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{_brief(row)} keys must be equal to: {','.join(sorted(signature.inputs))}"
            )
    return {name: [row[name] for row in instances] for name in signature.inputs}


def _tensor(name: str, value: Any, spec: TensorSpec) -> NDArray[Any]:
    if spec.dtype != object and str in leaf_types(value):
        raise _invalid(f"input {name!r}: expected {spec}, got string values: {_brief(value)}")
    try:
        array = _strings(value) if spec.dtype == object else np.asarray(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise _invalid(
            f"input {name!r}: expected {spec}, got a ragged or mixed array: {_brief(value)}"
        ) from error
    if spec.dtype == object:
        return array
    kinds = _KINDS.get(_kind(spec.dtype))
    if kinds is None:
        raise StatusError(
            Code.UNIMPLEMENTED, f"input {name!r}: {dtype_name(spec.dtype)} cannot be sent as JSON"
        )
    if array.size and array.dtype.kind not in kinds:
        raise _invalid(
            f"input {name!r}: expected {spec}, got {_json_kind(array)} values: {_brief(value)}"
        )
    return _cast(name, array, spec)


def _cast(name: str, array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(spec.dtype)
    if array.dtype.kind in "iuf" and array.size:
        if _kind(spec.dtype) in "iu":
            lossy = cast.astype(object) != array.astype(object)
        else:
            lossy = np.isfinite(array) & ~np.isfinite(cast.astype(np.float64))
        if np.any(lossy):
            raise _invalid(
                f"input {name!r}: Cannot convert JSON value: {array[lossy].ravel()[0]} to "
                f"{dtype_name(spec.dtype)} without loss of precision."
            )
    return cast


def _strings(value: Any) -> NDArray[Any]:
    """An array of dtype object with bytes; ValueError where it is ragged or holds no strings."""
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat = list(_leaves(value, shape))
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(shape)


def _leaves(value: Any, shape: list[int]) -> Iterator[bytes]:
    if not shape:
        yield _string(value)
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise ValueError("ragged")
    for item in value:
        yield from _leaves(item, shape[1:])


def _string(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_base64(value):
        raise ValueError("neither text nor base64")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("Unable to base64 decode") from error


def _kind(dtype: np.dtype[Any]) -> str:
    return "V" if dtype == ml_dtypes.bfloat16 else dtype.kind


def _json_kind(array: NDArray[Any]) -> str:
    names = {"b": "boolean", "U": "string", "O": "mixed", "f": "decimal"}
    return names.get(array.dtype.kind, dtype_name(array.dtype))


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _brief(value: Any) -> str:
    # Never the whole of a large request.
    text = repr(value) if isinstance(value, str) else str(value)[:200]
    return text if len(text) < 120 else text[:117] + "..."


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
