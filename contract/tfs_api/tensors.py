"""Conversion between TensorProto and NumPy, like TensorFlow's `make_tensor_proto`, `make_ndarray`.

Strings are arrays of dtype object that hold bytes.
"""

import functools
import itertools
from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tfs_api.messages import tensor_pb2
from tfs_api.messages.packed_tensor_pb2 import PackedTensorProto
from tfs_api.messages.tensor_pb2 import TensorProto, TensorShapeProto

# Maximum size in bytes of a tensor filled from fewer values (the last one is repeated), so that a
# small message cannot exhaust the memory.
MAX_FILLED_BYTES = 64 * 2**20
# What a string counts for, because each is handled by itself: a message of 85 bytes made a server
# busy for seconds.
_STRING_BYTES = 64


@dataclass(frozen=True)
class WireType:
    """A dtype on the wire: its number, NumPy dtype and typed field."""

    number: "tensor_pb2.DataType"
    dtype: np.dtype[Any]
    field: str

    @functools.cached_property
    def little_endian(self) -> np.dtype[Any]:
        """The NumPy dtype of its values as bytes on the wire."""
        return self.dtype.newbyteorder("<")

    @property
    def name(self) -> str:
        """TensorFlow's name of the dtype, for example "DT_FLOAT"."""
        return tensor_pb2.DataType.Name(self.number)


_TYPES = [
    WireType(tensor_pb2.DT_FLOAT, np.dtype(np.float32), "float_val"),
    WireType(tensor_pb2.DT_DOUBLE, np.dtype(np.float64), "double_val"),
    WireType(tensor_pb2.DT_INT32, np.dtype(np.int32), "int_val"),
    WireType(tensor_pb2.DT_UINT8, np.dtype(np.uint8), "int_val"),
    WireType(tensor_pb2.DT_INT16, np.dtype(np.int16), "int_val"),
    WireType(tensor_pb2.DT_INT8, np.dtype(np.int8), "int_val"),
    WireType(tensor_pb2.DT_STRING, np.dtype(object), "string_val"),
    WireType(tensor_pb2.DT_COMPLEX64, np.dtype(np.complex64), "scomplex_val"),
    WireType(tensor_pb2.DT_INT64, np.dtype(np.int64), "int64_val"),
    WireType(tensor_pb2.DT_BOOL, np.dtype(np.bool_), "bool_val"),
    WireType(tensor_pb2.DT_BFLOAT16, np.dtype(ml_dtypes.bfloat16), "half_val"),
    WireType(tensor_pb2.DT_UINT16, np.dtype(np.uint16), "int_val"),
    WireType(tensor_pb2.DT_COMPLEX128, np.dtype(np.complex128), "dcomplex_val"),
    WireType(tensor_pb2.DT_HALF, np.dtype(np.float16), "half_val"),
    WireType(tensor_pb2.DT_UINT32, np.dtype(np.uint32), "uint32_val"),
    WireType(tensor_pb2.DT_UINT64, np.dtype(np.uint64), "uint64_val"),
]
WIRE_TYPES = {int(wire.number): wire for wire in _TYPES}
_BY_DTYPE = {wire.dtype: wire for wire in _TYPES}

# Typed fields whose values have a fixed width on the wire. They are copied as bytes instead of one
# by one, through a message that declares the same field as bytes: for 784 floats that takes 1 µs
# instead of 40. The other fields hold varints or strings.
_PACKED_FIELDS = frozenset(PackedTensorProto.DESCRIPTOR.fields_by_name) - {"dtype", "tensor_shape"}


def wire_type(dtype: np.dtype[Any] | type) -> WireType:
    """The wire type of a NumPy dtype; byte and text strings are DT_STRING. Raises ValueError."""
    dtype = np.dtype(dtype)
    if found := _BY_DTYPE.get(dtype):
        return found
    if dtype.kind in "SU":
        dtype = np.dtype(object)
    try:
        return _BY_DTYPE[dtype.newbyteorder("=")]
    except KeyError:
        raise ValueError(f"dtype {dtype} cannot be sent in a TensorProto") from None


def to_proto(array: NDArray[Any], *, as_content: bool = False) -> TensorProto:
    """Convert an array of any shape.

    Args:
        array: values; strings as bytes or str (sent as UTF-8).
        as_content: send raw bytes (`tensor_content`) instead of the typed field.

    Raises:
        ValueError: the dtype has no wire type.
    """
    proto = TensorProto()
    write_tensor(proto, array, as_content=as_content)
    return proto


def write_tensor(proto: TensorProto, array: NDArray[Any], *, as_content: bool = False) -> None:
    """Write an array into an empty message, such as a field of another message; see to_proto."""
    array = np.asarray(array)
    wire = wire_type(array.dtype)
    if wire.field in _PACKED_FIELDS and not as_content:
        packed = PackedTensorProto(dtype=wire.number)
        _write_shape(packed.tensor_shape, array.shape)
        setattr(packed, wire.field, _to_bytes(array, wire))
        proto.MergeFromString(packed.SerializeToString())
        return
    proto.dtype = wire.number
    _write_shape(proto.tensor_shape, array.shape)
    if wire.field == "string_val":
        strings = [_as_bytes(value) for value in array.ravel().tolist()]
        if as_content:
            # All lengths as varints, then all bytes, as in `EncodeStringList`.
            proto.tensor_content = b"".join([*map(_varint, map(len, strings)), *strings])
        else:
            proto.string_val.extend(strings)
    elif as_content:
        proto.tensor_content = _to_bytes(array, wire)
    else:
        values = array.view(np.uint16) if wire.field == "half_val" else array
        getattr(proto, wire.field).extend(values.ravel().tolist())


def to_array(proto: TensorProto) -> NDArray[Any]:
    """Convert a message, like `Tensor::FromProto`; the array may be read-only.

    If a typed field holds fewer values than the shape has, the last one (or zero) is repeated.
    Excess values are ignored, also for shapes of size 0.

    Raises:
        ValueError: unknown dtype, a negative dimension, or content that does not fit the shape.
    """
    wire = WIRE_TYPES.get(proto.dtype)
    if wire is None:
        raise ValueError(f"unsupported tensor dtype number {int(proto.dtype)}")
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    if min(shape, default=0) < 0:
        raise ValueError(f"a tensor's shape must be known, got {list(shape)}")
    if 0 in shape:
        if prod(filter(None, shape)) * wire.dtype.itemsize >= 2**63:
            raise ValueError(f"a tensor's shape {list(shape)} is too large")
        return np.empty(shape, wire.dtype)
    if content := proto.tensor_content:
        return _from_content(content, wire, shape)
    if wire.field in _PACKED_FIELDS:
        content = getattr(PackedTensorProto.FromString(proto.SerializeToString()), wire.field)
        # A complex value is two numbers on the wire; an incomplete one is ignored.
        count = len(content) // wire.dtype.itemsize
        if count == prod(shape):
            return _from_bytes(content, wire, shape)
        return _filled(_from_bytes(content, wire, (count,)), wire, shape)
    return _filled(_from_typed(proto, wire), wire, shape)


def shape_proto(shape: tuple[int, ...]) -> TensorShapeProto:
    """The message of a shape; -1 stands for any size."""
    proto = TensorShapeProto()
    _write_shape(proto, shape)
    return proto


def _write_shape(proto: TensorShapeProto, shape: tuple[int, ...]) -> None:
    proto.SetInParent()  # also for a scalar, which adds no dimension
    for size in shape:
        proto.dim.add(size=size)


def _to_bytes(array: NDArray[Any], wire: WireType) -> bytes:
    return array.astype(wire.little_endian, copy=False).tobytes()


def _from_typed(proto: TensorProto, wire: WireType) -> NDArray[Any]:
    field = getattr(proto, wire.field)
    if wire.field == "string_val":
        return np.array(list(field), object)
    if wire.field == "half_val":
        return np.fromiter(field, np.int32, len(field)).astype(np.uint16).view(wire.dtype)
    if wire.field == "int_val":
        return np.fromiter(field, np.int32, len(field)).astype(wire.dtype, copy=False)
    return np.fromiter(field, wire.dtype, len(field))


def _from_bytes(content: bytes, wire: WireType, shape: tuple[int, ...]) -> NDArray[Any]:
    little: NDArray[Any] = np.ndarray(shape, wire.little_endian, content)
    return little.astype(wire.dtype, copy=False)


def _from_content(content: bytes, wire: WireType, shape: tuple[int, ...]) -> NDArray[Any]:
    if wire.field == "string_val":
        return np.array(_strings_in(content, prod(shape)), object).reshape(shape)
    expected = prod(shape) * wire.dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"tensor_content has {len(content)} bytes, "
            f"{wire.name} of shape {list(shape)} needs {expected}"
        )
    if wire.dtype == np.bool_ and content.translate(None, b"\0\1"):
        raise ValueError("tensor_content of DT_BOOL has bytes that are neither 0 nor 1")
    return _from_bytes(content, wire, shape)


def _filled(values: NDArray[Any], wire: WireType, shape: tuple[int, ...]) -> NDArray[Any]:
    size = prod(shape)
    if len(values) >= size:
        return values[:size].reshape(shape)
    each = _STRING_BYTES if wire.field == "string_val" else wire.dtype.itemsize
    if size * each > MAX_FILLED_BYTES:
        raise ValueError(f"shape {list(shape)} is too large to fill from {len(values)} values")
    zero: Any = b"" if wire.field == "string_val" else wire.dtype.type(0)
    full = np.empty(size, dtype=wire.dtype)
    full.fill(values[-1] if len(values) else zero)  # np.full() strips NULs from the ends of strings
    full[: len(values)] = values
    return full.reshape(shape)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f"a string tensor holds bytes or str, got {type(value).__name__}")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _strings_in(content: bytes, count: int) -> list[bytes]:
    """Read tensor_content with exactly `count` strings, else raise a ValueError."""
    # Each length takes at least a byte. Checked first, because a shape may claim any number.
    if count > len(content):
        raise ValueError(f"tensor_content has {len(content)} bytes, too few for {count} strings")
    lengths, start = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if start == len(content) or shift > 28:  # a varint32 has at most five bytes
                raise ValueError(f"tensor_content holds fewer than {count} lengths of strings")
            byte = content[start]
            start += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        lengths.append(length & 0xFFFFFFFF)
    if sum(lengths) != len(content) - start:
        raise ValueError(
            f"tensor_content holds {len(content) - start} bytes of strings, their lengths add up "
            f"to {sum(lengths)}"
        )
    stops = itertools.accumulate(lengths, initial=start)
    return [content[begin:end] for begin, end in itertools.pairwise(stops)]
