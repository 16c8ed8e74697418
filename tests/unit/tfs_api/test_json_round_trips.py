"""Any tensor through the REST API's JSON, with TensorFlow's own conversions as the oracle."""

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from tests.fake_engine import spec
from tests.unit.tfs_api.arrays import DTYPES, arrays, quick, same, thorough
from tfs_api.json_request import feeds, parse_predict
from tfs_api.json_response import SMALL, response
from tfs_api.signature import Signature
from tfs_api.tensors import wire_type

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf

JSON_DTYPES = [dtype for dtype in DTYPES if dtype.kind != "c"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5).map(str.encode)
# Repetitions after which a response is large, and written by another function.
TIMES = pytest.mark.parametrize("times", [1, SMALL + 1], ids=["small", "large"])


def as_json(array: Any) -> Any:
    """Drop the dimensions after one of size 0, which nested lists cannot represent."""
    known = array.shape.index(0) + 1 if 0 in array.shape else array.ndim
    return array.reshape(array.shape[:known])


def tensor(value: Any, dtype: np.dtype[Any], form: str = "inputs") -> Any:
    """The tensor of a request for one input."""
    body = json.dumps({form: value}).encode()
    return feeds(parse_predict(body), Signature({"x": spec(dtype)}, {}))["x"]


def values_of(outputs: Any, *, by_row: bool) -> Any:
    return json.loads(response(outputs, by_row=by_row))["predictions" if by_row else "outputs"]


@TIMES
@thorough
@given(one=st.sampled_from(JSON_DTYPES).flatmap(arrays))
def test_responses_can_be_sent_again(times: int, one: Any) -> None:
    array = np.stack([one] * times)
    for by_row, form in ((True, "instances"), (False, "inputs")):
        value = values_of({"x_bytes": array}, by_row=by_row)
        same(tensor(value, array.dtype, form), as_json(array))


@quick
@given(data=st.data())
def test_text_can_be_sent_again(data: st.DataObject) -> None:
    array = data.draw(arrays(np.dtype(object), strings=TEXTS))
    same(tensor(values_of({"x": array}, by_row=False), array.dtype), as_json(array))


@thorough
@given(dtype=st.sampled_from(JSON_DTYPES), data=st.data())
def test_values_are_converted_as_in_tensorflow(dtype: np.dtype[Any], data: st.DataObject) -> None:
    array = data.draw(arrays(dtype, strings=TEXTS))
    # Python's floats are doubles, which are rounded to the tensor's dtype.
    wide = dtype.kind in "fV"
    value = array.astype(np.float64).tolist() if wide else array.tolist()
    if dtype.kind == "O":
        value = np.vectorize(bytes.decode, otypes=[object])(array).tolist() if array.size else value
    # TensorFlow reads a list of large and small integers as doubles.
    theirs = array if dtype.kind in "iu" else value
    proto = tf.make_tensor_proto(theirs, int(wire_type(dtype).number), array.shape)
    same(tensor(value, dtype), as_json(tf.make_ndarray(proto)))


@quick
@given(value=st.floats(allow_nan=False), dtype=st.sampled_from([np.float32, np.float64]))
def test_decimals_are_rounded_as_in_tensorflow(value: float, dtype: Any) -> None:
    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = tf.make_ndarray(tf.make_tensor_proto(value, dtype))
    same(tensor(value, np.dtype(dtype)), oracle)


@TIMES
@quick
@given(data=st.data())
def test_several_outputs_can_be_sent_again(times: int, data: st.DataObject) -> None:
    shape = data.draw(stnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2))
    dtypes = data.draw(st.lists(st.sampled_from(JSON_DTYPES), min_size=2, max_size=4))
    outputs = {
        f"{index}_bytes": np.stack([data.draw(arrays(dtype, st.just(shape)))] * times)
        for index, dtype in enumerate(dtypes)
    }
    signature = Signature({name: spec(array.dtype) for name, array in outputs.items()}, {})
    for by_row, form in ((True, "instances"), (False, "inputs")):
        body = json.dumps({form: values_of(outputs, by_row=by_row)}).encode()
        found = feeds(parse_predict(body), signature)
        assert found.keys() == outputs.keys()
        for name, array in outputs.items():
            same(found[name], as_json(array))
