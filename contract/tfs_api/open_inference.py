"""Tensors of the Open Inference Protocol to NumPy and back, as bytes.

Source: KServe's "Open Inference Protocol (V2)" and Triton's "Binary Tensor Data Extension".
Strings are arrays of dtype object that hold bytes.
"""

import struct
from collections.abc import Sequence
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.limits import POSSIBLE_SHAPE, is_possible_shape
from tfs_api.signature import TensorSpec

# The platform of every model, from the fixed list of the protocol.
PLATFORM = "tensorflow_savedmodel"

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
_LENGTH = struct.Struct("<I")  # precedes each element of BYTES

# Extensions of Triton that change where values are or what they mean, so they must be rejected.
_NOT_SUPPORTED = ("shared_memory_region", "classification")


def datatype(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a dtype, else an InvalidInputError; object stands for byte strings."""
    if dtype not in _NAMES:
        expected = "tensors that the Open Inference Protocol knows"
        raise InvalidInputError("model", expected=expected, got=str(dtype))
    return _NAMES[dtype]


def declared_shape(spec: TensorSpec) -> list[int]:
    """The shape of an input or output in a model's metadata, with -1 for any size.

    The protocol cannot express an unknown rank, which becomes [-1].
    """
    return [-1] if spec.shape is None else list(spec.shape)


def dtype_of(name: str, field: str) -> np.dtype[Any]:
    """The dtype of a datatype, else an InvalidInputError."""
    if name not in DATATYPES:
        expected = f"one of {', '.join(DATATYPES)}"
        raise InvalidInputError(f"{field}.datatype", expected=expected, got=repr(name[:40]))
    return DATATYPES[name]


def check_shape(shape: Sequence[int], field: str) -> None:
    """Raise an InvalidInputError unless an array can have the shape."""
    if not is_possible_shape(shape):
        got = str(list(shape))[:100]
        raise InvalidInputError(f"{field}.shape", expected=POSSIBLE_SHAPE, got=got)


def check_parameters(parameters: Sequence[str], field: str) -> None:
    """Raise an InvalidInputError if a parameter requests an extension that is not supported."""
    for name in _NOT_SUPPORTED:
        if name in parameters:
            raise InvalidInputError(
                f"{field}.parameters",
                expected="values in requests and responses",
                got=name,
                summary=f"{field}.parameters: {name} is not supported",
                hint="send and request the values themselves",
            )


def shaped(flat: NDArray[Any], shape: Sequence[int], field: str) -> NDArray[Any]:
    """Reshape values; an InvalidInputError if the shape has another number of values."""
    if flat.size != prod(shape):
        expected = f"{prod(shape)} values for shape {list(shape)}"
        raise InvalidInputError(field, expected=expected, got=str(flat.size))
    return flat.reshape(shape)


def from_bytes(
    data: bytes, name: str, shape: Sequence[int], field: str, data_field: str
) -> NDArray[Any]:
    """Read a tensor of little-endian values, row-major; for BYTES, each after its length, uint32.

    `field` describes the tensor in the request and `data_field` holds the bytes, for errors.
    """
    dtype = dtype_of(name, field)
    check_shape(shape, field)
    if dtype.kind == "O":
        return shaped(_elements(data, data_field), shape, data_field)
    if len(data) != (size := prod(shape) * dtype.itemsize):
        expected = f"{size} bytes for {name} of shape {list(shape)}"
        raise InvalidInputError(data_field, expected=expected, got=str(len(data)))
    if dtype == np.bool_:
        return np.frombuffer(data, np.uint8).astype(np.bool_).reshape(shape)
    little = np.frombuffer(data, dtype.newbyteorder("<"))
    return little.astype(dtype, copy=False).reshape(shape)


def to_bytes(array: NDArray[Any]) -> bytes:
    """Write values as little-endian bytes; for BYTES, each after its length, uint32."""
    if array.dtype.kind == "O":
        return b"".join(_LENGTH.pack(len(value)) + bytes(value) for value in array.ravel())
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _elements(data: bytes, field: str) -> NDArray[Any]:
    flat, at = [], 0
    while at < len(data):
        end = at + _LENGTH.size
        size = _LENGTH.unpack(data[at:end])[0] if end <= len(data) else -1
        if size < 0 or end + size > len(data):
            expected = "each element after its length, four bytes little-endian"
            got = f"an element that ends after the {len(data)} bytes"
            raise InvalidInputError(field, expected=expected, got=got)
        flat.append(data[end : end + size])
        at = end + size
    return np.array(flat, object)
