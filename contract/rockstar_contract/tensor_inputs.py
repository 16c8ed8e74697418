"""Arrays by name, as JSON or NumPy has them, to the tensors that a contract asks for and back."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import TensorInput, TensorSpec
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.nested_lists import leaf_types

# What travels as JSON: TensorFlow's names that NumPy shares, and its strings.
STRING = "string"
DTYPES = (
    *("float32", "float64", "float16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", STRING),
)
# How many names an error lists.
_LISTED = 12


def read_tensors(example: Any, spec: TensorInput, field: str) -> dict[str, NDArray[Any]]:
    """The arrays of one example, without a batch.

    Args:
        example: values by the names of the inputs; where there is one input, also its value alone.
        spec: what the model takes.
        field: what errors call the example.

    Raises:
        InvalidInputError: an input is missing or unknown, or its values do not fit.
    """
    if not isinstance(example, Mapping):
        if len(spec.tensors) > 1:
            raise InvalidInputError(
                field,
                expected=f"an object with the inputs {_listed(spec)}",
                got="a file" if isinstance(example, bytes) else "one array",
                hint=f'send {{"instances": [{_pattern(spec)}]}}',
            )
        example = {spec.tensors[0].name: example}
    wanted = {tensor.name for tensor in spec.tensors}
    unknown = [str(name) for name in example if name not in wanted]
    if unknown:
        raise InvalidInputError(
            field, expected=f"the inputs {_listed(spec)}", got=", ".join(unknown[:_LISTED])
        )
    arrays = {}
    for tensor in spec.tensors:
        place = f"{field}.{tensor.name}"
        if tensor.name not in example:
            raise InvalidInputError(
                place,
                expected=described(tensor),
                got="nothing",
                hint=f'send {{"instances": [{_pattern(spec)}]}}',
            )
        arrays[tensor.name] = _array(example[tensor.name], tensor, place)
    return arrays


def stack(
    examples: Sequence[Mapping[str, NDArray[Any]]], fields: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """The examples as a batch.

    Args:
        examples: one or more.
        fields: what errors call them.

    Raises:
        InvalidInputError: an input of one of them has another shape than that of the first.
    """
    batch = {}
    for name, first in examples[0].items():
        for field, example in zip(fields, examples, strict=True):
            if example[name].shape != first.shape:
                raise InvalidInputError(
                    f"{field}.{name}",
                    expected=f"the shape of the first example, {[*first.shape]}",
                    got=f"shape {[*example[name].shape]}",
                    hint="pad the examples, or send them one by one",
                )
        batch[name] = np.stack([example[name] for example in examples])
    return batch


def described(tensor: TensorSpec) -> str:
    """An input or output in words, such as "int32 of shape [128]"; "any" is a size that varies."""
    shape = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.dtype} of shape [{shape}]"


def to_json(array: NDArray[Any]) -> Any:
    """Nested lists; of bytes the text, or {"b64": …} where it is none."""
    if array.dtype.kind not in "OSU":
        return array.astype(np.float64).tolist() if array.dtype.kind == "V" else array.tolist()
    return _texts(array.tolist())


def from_json(values: list[Any], dtype: str) -> NDArray[Any]:
    """What `to_json` made of an array: strings are bytes again; null is NaN.

    Args:
        values: nested lists of one shape.
        dtype: of DTYPES; of another one, which JSON does not have, come float32.

    Raises:
        ValueError: values that are no such array.
        TypeError: the same.
    """
    if dtype != STRING:
        return np.array(values, dtype if dtype in DTYPES else np.float32)
    array = np.array(values, object)
    flat = [
        base64.b64decode(each["b64"]) if isinstance(each, dict) else each.encode()
        for each in array.flat
    ]
    whole = np.empty(len(flat), object)
    whole[:] = flat
    return whole.reshape(array.shape)


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(each) for each in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _array(value: Any, tensor: TensorSpec, field: str) -> NDArray[Any]:
    if tensor.dtype == STRING:
        array = _strings(value, tensor, field)
    else:
        array = _numbers(value, tensor, field)
    fits = len(array.shape) == len(tensor.shape) and all(
        size in (None, got) for size, got in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits:
        raise InvalidInputError(field, expected=described(tensor), got=f"shape {list(array.shape)}")
    return array


def _numbers(value: Any, tensor: TensorSpec, field: str) -> NDArray[Any]:
    wanted = described(tensor)
    if isinstance(value, (bytes, Mapping)) or str in leaf_types([value]):
        raise InvalidInputError(field, expected=wanted, got="text or another type")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            field, expected=wanted, got="a ragged array", hint="all rows must have the same length"
        ) from error
    dtype = np.dtype(tensor.dtype)
    if array.size and array.dtype.kind not in ("b" if dtype.kind == "b" else "biuf"):
        raise InvalidInputError(field, expected=wanted, got="values of another type")
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        whole = array.dtype.kind in "biu" or bool((array == np.floor(array)).all())
        if not (whole and array.min() >= limits.min and array.max() <= limits.max):
            raise InvalidInputError(
                field,
                expected=f"{wanted}: whole numbers from {limits.min} to {limits.max}",
                got=f"{array.min():g} to {array.max():g}",
            )
    if dtype.kind == "f" and array.size and not np.isfinite(array).all():
        raise InvalidInputError(field, expected=wanted, got="NaN or infinity")
    return array.astype(dtype)


def _strings(value: Any, tensor: TensorSpec, field: str) -> NDArray[Any]:
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    leaves: list[bytes] = []
    _collect(value, len(shape), shape, leaves, field, described(tensor))
    array = np.empty(len(leaves), dtype=object)
    array[:] = leaves
    return array.reshape(shape)


def _collect(
    value: Any, depth: int, shape: list[int], leaves: list[bytes], field: str, wanted: str
) -> None:
    """The texts of nested lists in order."""
    if depth:
        if not isinstance(value, list) or len(value) != shape[-depth]:
            raise InvalidInputError(field, expected=wanted, got="a ragged array")
        for each in value:
            _collect(each, depth - 1, shape, leaves, field, wanted)
    elif isinstance(value, str):
        leaves.append(value.encode())
    elif isinstance(value, bytes):
        leaves.append(value)
    elif isinstance(value, Mapping) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            leaves.append(base64.b64decode(value["b64"], validate=True))
        except (binascii.Error, ValueError) as error:
            raise InvalidInputError(field, expected="base64 text", got="something else") from error
    else:
        raise InvalidInputError(field, expected=wanted, got="values that are no text")


def _listed(spec: TensorInput) -> str:
    names = [f"{tensor.name} ({described(tensor)})" for tensor in spec.tensors]
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _pattern(spec: TensorInput) -> str:
    names = ", ".join(f'"{tensor.name}": …' for tensor in spec.tensors[:_LISTED])
    return f"{{{names}}}"
