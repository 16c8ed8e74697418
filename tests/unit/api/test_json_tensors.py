"""The REST API's JSON."""

import json
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from serving.api.json_response import response
from serving.api.json_tensors import feeds, parse_request
from serving.api.signature import Signature
from serving.api.status import Code, StatusError
from tests.fake_engine import DOUBLE, ECHO, SUM, spec


def read(body: str, signature: Signature) -> dict[str, Any]:
    return {
        name: array.tolist()
        for name, array in feeds(parse_request(body.encode()), signature).items()
    }


@pytest.mark.parametrize(
    ("signature", "body", "expected"),
    [
        (DOUBLE, '{"instances": [[1, 2.5], [3, 4]]}', {"x": [[1, 2.5], [3, 4]]}),
        (DOUBLE, '{"instances": [{"x": [1, 2]}]}', {"x": [[1, 2]]}),
        (DOUBLE, '{"inputs": [[1, 2]]}', {"x": [[1, 2]]}),
        (DOUBLE, '{"inputs": {"x": [[1, 2]]}, "extra": null}', {"x": [[1, 2]]}),
        (DOUBLE, '{"inputs": []}', {"x": []}),
        (DOUBLE, '{"inputs": [Infinity, -Infinity]}', {"x": [np.inf, -np.inf]}),
        (SUM, '{"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]}', {"a": [1, 3], "b": [2, 4]}),
        (SUM, '{"inputs": {"a": [1], "b": [2]}}', {"a": [1], "b": [2]}),
        (ECHO, '{"instances": ["é", {"b64": "/w=="}]}', {"text": ["é".encode(), b"\xff"]}),
        (ECHO, '{"inputs": {"b64": "YQ=="}}', {"text": b"a"}),
        (ECHO, '{"inputs": [["a", "b"], ["c", "d"]]}', {"text": [[b"a", b"b"], [b"c", b"d"]]}),
    ],
)
def test_feeds(signature: Signature, body: str, expected: dict[str, Any]) -> None:
    assert read(body, signature) == expected


def test_nan_is_read() -> None:
    assert np.isnan(read('{"inputs": [NaN]}', DOUBLE)["x"][0])


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float64, ml_dtypes.bfloat16, np.int8, np.uint64, np.int64], ids=str
)
def test_feeds_have_the_signatures_dtype(dtype: Any) -> None:
    signature = Signature({"x": spec(dtype, -1)}, {})
    array = feeds(parse_request(b'{"inputs": [1, 2]}'), signature)["x"]
    assert array.dtype == dtype
    assert array.tolist() == [1, 2]


def test_booleans() -> None:
    signature = Signature({"x": spec(np.bool_, -1)}, {})
    assert read('{"inputs": [true, false]}', signature) == {"x": [True, False]}


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [
        (DOUBLE, "", "JSON Parse error: The document is empty at offset: 0"),
        (DOUBLE, '{"instances": [1,}', "JSON Parse error: Expecting value at offset: 17"),
        (DOUBLE, '{"inputs": "\udcff"}', "JSON Parse error: Invalid encoding in string at offset"),
        (DOUBLE, "[" * 100_000, "JSON Parse error: Nested too deeply"),
        (DOUBLE, "[1]", "JSON Value: [1] Is not object"),
        (DOUBLE, "{}", "Missing 'inputs' or 'instances' key"),
        (DOUBLE, '{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or"),
        (DOUBLE, '{"signature_name": 1, "inputs": []}', "'signature_name' key must be a string"),
        (DOUBLE, '{"instances": 1}', "'instances' to be an list/array"),
        (DOUBLE, '{"instances": []}', "No values in 'instances' array"),
        (DOUBLE, '{"instances": [[1, 2], [3]]}', "a ragged or mixed array: [[1, 2], [3]]"),
        (DOUBLE, '{"instances": ["1"]}', "expected float32 of shape [?, 2], got string values"),
        (DOUBLE, '{"instances": [null]}', "got mixed values"),
        (DOUBLE, '{"instances": [true]}', "got boolean values"),
        (DOUBLE, '{"inputs": [1e300]}', "Cannot convert JSON value: 1e+300 to float32"),
        (SUM, '{"inputs": {"a": [2147483648], "b": [1]}}', "2147483648 to int32 without loss"),
        (SUM, '{"inputs": {"a": [1.5], "b": [1]}}', "input 'a': expected int32 of shape [?], got"),
        (SUM, '{"inputs": [1]}', "inputs is a plain value/list, but expecting an object"),
        (SUM, '{"inputs": {"a": [1]}}', "Missing named input: b in 'inputs' object."),
        (SUM, '{"instances": [1]}', "instances is a plain list, but expecting list of objects"),
        (SUM, '{"instances": [{"a": 1, "b": 1}, 2]}', "Expecting object but got list at item 1"),
        (SUM, '{"instances": [{"a": 1}]}', "keys must be equal to: a,b"),
        (DOUBLE, '{"instances": [1, {"x": 1}]}', "Expecting value/list but got object at item 1"),
        (ECHO, '{"instances": [1]}', "input 'text': expected string of shape [?], got"),
        (ECHO, '{"instances": [{"b64": "?"}]}', "Unable to base64 decode"),
        (ECHO, '{"inputs": [["a"], "b"]}', "a ragged or mixed array"),
    ],
)
def test_bad_requests(signature: Signature, body: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        feeds(parse_request(body.encode("utf-8", "surrogateescape")), signature)
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert message in caught.value.message
    assert len(caught.value.message) < 400


ROWS = np.array([[0.2, 1], [3, 4]], np.float32)


@pytest.mark.parametrize(
    ("outputs", "by_row", "expected"),
    [
        ({"y": ROWS}, True, '{"predictions": [[0.2, 1.0], [3.0, 4.0]]}'),
        ({"y": ROWS}, False, '{"outputs": [[0.2, 1.0], [3.0, 4.0]]}'),
        (
            {"y": ROWS, "n": np.array([1, 2], np.int64)},
            True,
            '{"predictions": [{"y": [0.2, 1.0], "n": 1}, {"y": [3.0, 4.0], "n": 2}]}',
        ),
        (
            {"y": ROWS, "s": np.array(0.1)},
            False,
            '{"outputs": {"y": [[0.2, 1.0], [3.0, 4.0]], "s": 0.1}}',
        ),
        (
            {"y": np.array([np.nan, np.inf, -np.inf], np.float32)},
            False,
            '{"outputs": [NaN, Infinity, -Infinity]}',
        ),
        ({"t": np.array(["é".encode()], object)}, True, '{"predictions": ["é"]}'),
        ({"t_bytes": np.array([b"\xff"], object)}, True, '{"predictions": [{"b64": "/w=="}]}'),
        ({"b": np.array([True])}, True, '{"predictions": [true]}'),
        ({"h": np.array([0.1], ml_dtypes.bfloat16)}, True, '{"predictions": [0.100097656]}'),
    ],
)
def test_responses(outputs: dict[str, Any], by_row: bool, expected: str) -> None:
    assert response(outputs, by_row=by_row).decode() == expected


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"y": ROWS, "z": ROWS[:1]}, "y: [2, 2], z: [1, 2]; ask with 'inputs'"),
        ({"y": np.array(1.0)}, "y: []; ask with 'inputs'"),
        ({"t": np.array([b"\xff"], object)}, "output 't' is not UTF-8 text"),
    ],
)
def test_responses_that_json_cannot_hold(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError) as caught:
        response(outputs, by_row=True)
    assert message in caught.value.message


def test_texts_for_numbers_are_refused_before_they_become_an_array() -> None:
    # As an array each would be as long as the longest.
    body = json.dumps({"instances": ["a" * 100_000, *["b"] * 10_000]})
    tracemalloc.start()
    with pytest.raises(StatusError, match="got string values"):
        feeds(parse_request(body.encode()), DOUBLE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(body)


def test_float32_survives() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    values[:3] = np.finfo(np.float32).tiny, np.finfo(np.float32).max, 1e-45
    back = json.loads(response({"y": values}, by_row=False))["outputs"]
    np.testing.assert_array_equal(np.array(back, np.float32), values)
