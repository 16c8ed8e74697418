"""Tensors, compared with those of TensorFlow."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.tfs_api.arrays import DTYPES, arrays, same, thorough
from tfs_api.messages.tensor_pb2 import DT_BOOL, DT_FLOAT, DT_INT64, DT_STRING, TensorProto
from tfs_api.tensors import shape_proto, to_array, to_proto, wire_type

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2 as official


def official_array(proto: TensorProto) -> Any:
    theirs = official.TensorProto.FromString(proto.SerializeToString())
    return tf.make_ndarray(theirs)


def parsed_by_tensorflow(proto: TensorProto) -> Any:
    """The array that `Tensor::FromProto` reads in TensorFlow Serving.

    Raises:
        tf.errors.InvalidArgumentError: nothing.
    """
    value = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(int(proto.dtype))).numpy()
    return np.array(value, object) if isinstance(value, bytes) else value


@thorough
@given(array=st.sampled_from(DTYPES).flatmap(arrays))
def test_round_trip_and_conversion_by_tensorflow(array: Any) -> None:
    for as_content in (False, True):
        proto = to_proto(array, as_content=as_content)
        same(to_array(TensorProto.FromString(proto.SerializeToString())), array)
        same(parsed_by_tensorflow(proto), array)
    number = int(wire_type(array.dtype).number)
    theirs = tf.make_tensor_proto(array, dtype=number, shape=array.shape)
    same(to_array(TensorProto.FromString(theirs.SerializeToString())), array)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bytes_equal_those_of_tensorflow(dtype: np.dtype[Any]) -> None:
    values = [b"a", b"", b"\xff"] if dtype.kind == "O" else [1, 0, 1]
    array = np.array(values, dtype=dtype).reshape(1, 3, 1)
    theirs = tf.make_tensor_proto(array, dtype=int(wire_type(dtype).number))
    # TensorFlow chooses one of the two forms by dtype.
    as_content = bool(theirs.tensor_content)
    ours = to_proto(array, as_content=as_content).SerializeToString(deterministic=True)
    assert ours == theirs.SerializeToString(deterministic=True)


def test_text_is_sent_as_utf8() -> None:
    assert to_proto(np.array(["é", "x"])).string_val == ["é".encode(), b"x"]


@thorough
@given(dtype=st.sampled_from(DTYPES), data=st.data())
def test_any_short_list_of_values_is_filled_as_in_tensorflow(
    dtype: np.dtype[Any], data: st.DataObject
) -> None:
    values = data.draw(arrays(dtype, st.tuples(st.integers(1, 6))))
    proto = to_proto(values)
    size = len(values) + data.draw(st.integers(0, 6))
    proto.tensor_shape.CopyFrom(shape_proto(data.draw(st.sampled_from([(size,), (1, size, 1)]))))
    same(to_array(proto), official_array(proto))


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((), {"dtype": 99}, "unsupported tensor dtype number 99"),
        ((), {}, "unsupported tensor dtype number 0"),
        ((-1, 2), {"dtype": DT_FLOAT, "float_val": [1]}, r"must be known, got \[-1, 2\]"),
        (
            (2,),
            {"dtype": DT_INT64, "tensor_content": b"12345678"},
            r"tensor_content has 8 bytes, DT_INT64 of shape \[2\] needs 16",
        ),
        ((2**40,), {"dtype": DT_FLOAT, "float_val": [1]}, "too large to fill from 1 values"),
        ((2**21,), {"dtype": DT_STRING, "string_val": [b"a"]}, "too large to fill from 1 values"),
        ((2**40, 2**40, 0), {"dtype": DT_FLOAT}, r"a tensor's shape \[.*\] is too large"),
        ((2**40,), {"dtype": DT_STRING, "tensor_content": b"\1a"}, "2 bytes, too few for 109951"),
    ],
)
def test_invalid_tensors(shape: tuple[int, ...], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_array(TensorProto(tensor_shape=shape_proto(shape), **fields))


@st.composite
def messages(draw: Any) -> TensorProto:
    """Tensors, some with the wrong shape or size."""
    array = draw(arrays(draw(st.sampled_from(DTYPES))))
    proto = to_proto(array, as_content=draw(st.booleans()))
    if draw(st.booleans()):
        shape = draw(st.lists(st.integers(-1, 3), max_size=3))
        proto.tensor_shape.CopyFrom(shape_proto(tuple(shape)))
    proto.tensor_shape.unknown_rank = draw(st.booleans())
    if proto.tensor_content and draw(st.booleans()):
        end = draw(st.integers(0, len(proto.tensor_content)))
        proto.tensor_content = proto.tensor_content[:end] + draw(st.binary(max_size=4))
    return proto


def accepted_or_rejected_as_by_tensorflow(proto: TensorProto) -> None:
    try:
        theirs = parsed_by_tensorflow(proto)
    except tf.errors.InvalidArgumentError:
        with pytest.raises(ValueError, match="tensor"):
            to_array(proto)
    else:
        same(to_array(proto), theirs)


@settings(max_examples=200)
@given(proto=messages())
def test_tensorflow_accepts_and_rejects_the_same(proto: TensorProto) -> None:
    accepted_or_rejected_as_by_tensorflow(proto)


@pytest.mark.parametrize(
    "content",
    [
        b"\x01\x02abb",
        b"\x81\x80\x80\x80\x10\x02abb",  # more bits than a length can have
        b"\x81\x80\x80\x80\x80\x00\x02abb",  # a length with too many bytes
        b"\x01\x02ab",
        b"\x01\x02abbc",
        b"\x81",
    ],
)
def test_strings_as_content(content: bytes) -> None:
    accepted_or_rejected_as_by_tensorflow(
        TensorProto(dtype=DT_STRING, tensor_shape=shape_proto((2,)), tensor_content=content)
    )


@pytest.mark.parametrize("array", [np.array("2020-01-01", "M8[D]"), np.zeros(1, "V3")], ids=str)
def test_unsupported_dtypes(array: Any) -> None:
    with pytest.raises(ValueError, match="cannot be sent in a TensorProto"):
        to_proto(array)


def test_objects_that_are_not_strings() -> None:
    with pytest.raises(ValueError, match="holds bytes or str, got int"):
        to_proto(np.array([1], dtype=object))


def encoded(field: str, *chunks: Any, dtype: Any) -> TensorProto:
    """A message with its typed field in several pieces, as protobuf allows."""
    shape = shape_proto((sum(len(chunk) for chunk in chunks),))
    proto = TensorProto(dtype=wire_type(dtype).number, tensor_shape=shape)
    pieces = [TensorProto(**{field: chunk}).SerializeToString() for chunk in chunks]
    return TensorProto.FromString(proto.SerializeToString() + b"".join(pieces))


@pytest.mark.parametrize(
    ("field", "dtype"), [("float_val", np.float32), ("double_val", np.float64), ("bool_val", bool)]
)
def test_fields_in_several_pieces(field: str, dtype: Any) -> None:
    proto = encoded(field, [1, 0], [1], dtype=dtype)
    np.testing.assert_array_equal(to_array(proto), np.array([1, 0, 1], dtype))


def test_unpacked_values() -> None:
    one = b"\x2d" + np.float32(1.5).tobytes()  # field 5 (float_val), four bytes
    proto = TensorProto(dtype=DT_FLOAT, tensor_shape=shape_proto((2,)))
    unpacked = TensorProto.FromString(proto.SerializeToString() + one + one)
    np.testing.assert_array_equal(to_array(unpacked), [1.5, 1.5])


def test_any_nonzero_number_is_true() -> None:
    proto = TensorProto(dtype=DT_BOOL, tensor_shape=shape_proto((3,)))
    numbers = b"\x5a\x04\x00\x07\x80\x01"  # field 11 (bool_val), varints 0, 7 and 128
    read = TensorProto.FromString(proto.SerializeToString() + numbers)
    assert to_array(read).tolist() == [False, True, True]


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<c16", ">c16", ">i8"])
def test_byte_order_and_strides_do_not_matter(dtype: str) -> None:
    array = np.arange(200, dtype=dtype).reshape(10, 20)[::-3, 1::2]
    for as_content in (False, True):
        proto = to_proto(array, as_content=as_content)
        np.testing.assert_array_equal(to_array(proto), array)
        np.testing.assert_array_equal(official_array(proto), array)
