"""The protocol's tensors to NumPy and back, as JSON values and as bytes."""

import struct
from math import prod
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInputError
from serving.gateway.shapes import POSSIBLE, is_possible
from serving.nested_lists import leaf_types

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
# JSON has no half floats: the binary extension is their way.
_BINARY_ONLY = ("FP16", "BF16")
_LENGTH = struct.Struct("<I")  # before each element of BYTES
# What JSON values may be for a dtype of a kind.
_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def datatype(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a dtype; object stands for byte strings.

    Raises:
        InvalidInputError: it has none.
    """
    try:
        return _NAMES[dtype]
    except KeyError:
        raise InvalidInputError(
            "model", expected="tensors that the Open Inference Protocol knows", got=str(dtype)
        ) from None


def from_json(data: Any, name: str, shape: list[int], field: str) -> NDArray[Any]:
    """A tensor of values as JSON holds them, flat or nested, row-major.

    Raises:
        InvalidInputError: unknown datatype, or values that do not fit it or the shape.
    """
    dtype = _dtype(name, field)
    if name in _BINARY_ONLY:
        raise InvalidInputError(
            f"{field}.data",
            expected=f"{name} as binary data",
            got="JSON",
            hint="see parameters.binary_data_size",
        )
    _check_shape(shape, field)
    if dtype.kind == "O":
        return _shaped(_texts(data, field), shape, field)
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
    return _shaped(values.ravel(), shape, field)


def from_bytes(data: bytes, name: str, shape: list[int], field: str) -> NDArray[Any]:
    """A tensor of little-endian values; of BYTES each after its length, uint32.

    Raises:
        InvalidInputError: unknown datatype, or bytes that do not fit it or the shape.
    """
    dtype = _dtype(name, field)
    _check_shape(shape, field)
    if dtype.kind == "O":
        return _shaped(_elements(data, field), shape, field)
    if len(data) != prod(shape) * dtype.itemsize:
        raise InvalidInputError(
            f"{field}.parameters.binary_data_size",
            expected=f"{prod(shape) * dtype.itemsize} for {name} of shape {shape}",
            got=str(len(data)),
        )
    if dtype == np.bool_:
        return _shaped(np.frombuffer(data, np.uint8).astype(np.bool_), shape, field)
    little = np.frombuffer(data, dtype.newbyteorder("<"))
    return _shaped(little.astype(dtype, copy=False), shape, field)


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


def to_bytes(array: NDArray[Any]) -> bytes:
    """Values as little-endian bytes; of BYTES each after its length, uint32."""
    if array.dtype.kind == "O":
        return b"".join(_LENGTH.pack(len(value)) + bytes(value) for value in array.ravel())
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _dtype(name: str, field: str) -> np.dtype[Any]:
    try:
        return DATATYPES[name]
    except KeyError:
        raise InvalidInputError(
            f"{field}.datatype", expected=f"one of {', '.join(DATATYPES)}", got=repr(name[:40])
        ) from None


def _check_shape(shape: list[int], field: str) -> None:
    if not is_possible(shape):
        raise InvalidInputError(f"{field}.shape", expected=POSSIBLE, got=str(shape)[:100])


def _shaped(flat: NDArray[Any], shape: list[int], field: str) -> NDArray[Any]:
    if flat.size != prod(shape):
        raise InvalidInputError(
            f"{field}.data",
            expected=f"{prod(shape)} values for shape {shape}",
            got=str(flat.size),
        )
    return flat.reshape(shape)


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
    return _objects(flat)


def _elements(data: bytes, field: str) -> NDArray[Any]:
    flat, at = [], 0
    while at < len(data):
        end = at + _LENGTH.size
        size = _LENGTH.unpack(data[at:end])[0] if end <= len(data) else -1
        if size < 0 or end + size > len(data):
            raise InvalidInputError(
                f"{field}.parameters.binary_data_size",
                expected="each element after its length, four bytes little-endian",
                got=f"an element that ends after the {len(data)} bytes",
            )
        flat.append(data[end : end + size])
        at = end + size
    return _objects(flat)


def _objects(values: list[bytes]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _refuse_json(field: str, got: str) -> NoReturn:
    raise InvalidInputError(
        field,
        expected="an output that JSON can hold",
        got=got,
        hint='ask for it with "parameters": {"binary_data": true}',
    )
