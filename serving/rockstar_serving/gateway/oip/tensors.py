"""The protocol's tensors to NumPy and back, as JSON values."""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.nested_lists import leaf_types
from tfs_api.open_inference import (
    DATATYPES,
    check_shape,
    datatype,
    dtype_of,
    objects,
    shaped,
)

# JSON has no half floats: the binary extension is their way.
_BINARY_ONLY = ("FP16", "BF16")
# What JSON values may be for a dtype of a kind.
_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def from_json(data: Any, name: str, shape: list[int], field: str) -> NDArray[Any]:
    """A tensor of values as JSON holds them, flat or nested, row-major.

    Raises:
        InvalidInputError: unknown datatype, or values that do not fit it or the shape.
    """
    dtype = dtype_of(name, field)
    if name in _BINARY_ONLY:
        raise InvalidInputError(
            f"{field}.data",
            expected=f"{name} as binary data",
            got="JSON",
            hint="see parameters.binary_data_size",
        )
    check_shape(shape, field)
    if dtype.kind == "O":
        return shaped(_texts(data, field), shape, f"{field}.data")
    others = leaf_types(data) - _JSON_TYPES[dtype.kind]
    if others:
        raise InvalidInputError(f"{field}.data", expected=f"{name} values", got=_json_names(others))
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(data, np.float64 if dtype.kind == "f" else dtype).astype(dtype)
    except OverflowError as error:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
        raise InvalidInputError(
            f"{field}.data",
            expected=f"values from {limits.min} to {limits.max}",
            got=f"{min(_flat(data))} to {max(_flat(data))}",
        ) from error
    except ValueError as error:
        raise InvalidInputError(
            f"{field}.data", expected="a flat or regularly nested array", got="a ragged one"
        ) from error
    return shaped(values.ravel(), shape, f"{field}.data")


def to_json(array: NDArray[Any], field: str) -> list[Any]:
    """Values as JSON holds them, flat.

    Raises:
        InvalidInputError: JSON cannot hold them: half floats, NaN, bytes that are not UTF-8.
    """
    if array.dtype.kind == "O":
        try:
            return [bytes(value).decode() for value in array.ravel()]
        except UnicodeDecodeError:
            _refuse_json(field, "bytes that are no text")
    if array.dtype in (DATATYPES["FP16"], DATATYPES["BF16"]):
        _refuse_json(field, datatype(array.dtype))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        _refuse_json(field, "NaN or infinity")
    values: list[Any] = array.ravel().tolist()
    return values


def _flat(data: Any) -> list[Any]:
    flat: list[Any] = np.asarray(data, dtype=object).ravel().tolist()
    return flat


def _json_names(types: set[type]) -> str:
    names = {bool: "true or false", int: "integers", float: "numbers with a fraction", str: "text"}
    return ", ".join(sorted(names.get(kind, "null, lists or objects") for kind in types))


def _texts(data: Any, field: str) -> NDArray[Any]:
    flat: list[bytes] = []
    level = [data]
    while level:
        item = level.pop()
        if isinstance(item, list):
            level.extend(reversed(item))
        elif isinstance(item, str):
            flat.append(item.encode())
        else:
            raise InvalidInputError(f"{field}.data", expected="texts", got=type(item).__name__)
    return objects(flat)


def _refuse_json(field: str, got: str) -> NoReturn:
    raise InvalidInputError(
        field,
        expected="an output that JSON can hold",
        got=got,
        hint='ask for it with "parameters": {"binary_data": true}',
    )
