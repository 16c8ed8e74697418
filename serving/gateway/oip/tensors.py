"""The protocol's tensors to NumPy and back, as JSON values and as bytes."""

import struct
from math import prod
from typing import Any, NoReturn

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInputError

_DTYPES: dict[str, np.dtype[Any]] = {
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
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# JSON has no half floats: the binary extension is their way.
_BINARY_ONLY = ("FP16", "BF16")
_LENGTH = struct.Struct("<I")  # before each element of BYTES


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
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{field}.data", expected="a flat or regularly nested array", got="a ragged one"
        ) from error
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
    if values.size and values.dtype.kind not in kinds:
        raise InvalidInputError(f"{field}.data", expected=f"{name} values", got="others")
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise InvalidInputError(
                f"{field}.data",
                expected=f"values from {limits.min} to {limits.max}",
                got=f"{values.min()} to {values.max()}",
            )
    with np.errstate(over="ignore"):
        return _shaped(values.astype(dtype).ravel(), shape, field)


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
        return np.frombuffer(data, np.uint8).astype(np.bool_).reshape(shape)
    little = np.frombuffer(data, dtype.newbyteorder("<"))
    return little.astype(dtype, copy=False).reshape(shape)


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
    if array.dtype in (_DTYPES["FP16"], _DTYPES["BF16"]):
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
        return _DTYPES[name]
    except KeyError:
        raise InvalidInputError(
            f"{field}.datatype", expected=f"one of {', '.join(_DTYPES)}", got=repr(name[:40])
        ) from None


def _check_shape(shape: list[int], field: str) -> None:
    if any(size < 0 for size in shape):
        raise InvalidInputError(f"{field}.shape", expected="sizes from 0", got=str(shape)[:100])


def _shaped(flat: NDArray[Any], shape: list[int], field: str) -> NDArray[Any]:
    if flat.size != prod(shape):
        raise InvalidInputError(
            f"{field}.data",
            expected=f"{prod(shape)} values for shape {shape}",
            got=str(flat.size),
        )
    return flat.reshape(shape)


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
