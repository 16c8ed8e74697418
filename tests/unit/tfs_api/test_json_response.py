"""JSON responses of the REST API."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from tfs_api.json_response import SMALL, classification, decimals, regression, response
from tfs_api.status import Code, StatusError

ROWS = np.array([[0.2, 1], [3, 4]], np.float32)


@pytest.mark.parametrize(
    ("outputs", "by_row", "expected"),
    [
        ({"y": ROWS}, True, '{\n    "predictions": [[0.2, 1.0], [3.0, 4.0]\n    ]\n}'),
        (
            {"y": ROWS[:1]},
            False,
            '{\n    "outputs": [\n        [\n            0.2,\n            1.0\n        ]\n    ]\n}',
        ),
        (
            {"y": ROWS[:1], "n": np.array([1], np.int64)},
            True,
            '{\n    "predictions": [\n        {\n            "y": [0.2, 1.0],\n'
            '            "n": 1\n        }\n    ]\n}',
        ),
        (
            {"y": ROWS[0, :1], "s": np.array(0.1)},
            False,
            '{\n    "outputs": {\n        "y": [\n            0.2\n        ],\n        "s": 0.1\n    }\n}',
        ),
        ({"y": np.zeros((0, 2))}, True, '{\n    "predictions": []\n}'),
        ({"y": np.zeros(0), "z": np.zeros((0, 2))}, True, '{\n    "predictions": []\n}'),
    ],
    ids=map(str, range(6)),
)
def test_small_responses_equal_those_of_tensorflow_serving(
    outputs: dict[str, Any], by_row: bool, expected: str
) -> None:
    assert response(outputs, by_row=by_row).decode() == expected


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([np.nan, np.inf, -np.inf, -0.0], np.float32), "[NaN, Infinity, -Infinity, -0.0]"),
        (np.array([np.nan, 0.1], np.float64), "[NaN, 0.1]"),
        (np.array([-(2**63), 2**63 - 1], np.int64), "[-9223372036854775808, 9223372036854775807]"),
        (np.array([2**64 - 1], np.uint64), "[18446744073709551615]"),
        (np.array([True, False]), "[true, false]"),
        (np.array([0.1], ml_dtypes.bfloat16), "[0.100097656]"),
        (np.array([0.1], np.float16), "[0.0999755859]"),
        (np.array(["é".encode(), b'"\n'], object), '["é", "\\"\\n"]'),
        (np.array(["é"]), '["é"]'),
    ],
    ids=str,
)
@pytest.mark.parametrize("times", [1, SMALL], ids=["small", "large"])
def test_values(array: Any, expected: str, times: int) -> None:
    text = response({"y": np.tile(array, times)}, by_row=True).decode()
    values = expected[1:-1].split(", ")
    assert "".join(text.split()) == '{"predictions":[' + ",".join(values * times) + "]}"


@pytest.mark.parametrize("times", [1, SMALL], ids=["small", "large"])
def test_bytes(times: int) -> None:
    data = np.array([b"\xff"] * times, object)
    outputs = {"t_bytes": data, "t": data}
    answer = response(outputs, by_row=True).decode("latin-1")
    assert json.loads(answer) == {
        "predictions": [{"t_bytes": {"b64": "/w=="}, "t": "\xff"}] * times
    }


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        (
            {"y": ROWS, "z": ROWS[:1]},
            "Tensor name: z has inconsistent batch size: 1 expecting: 2; use 'inputs'",
        ),
        ({"y": np.array(1.0)}, "Tensor name: y has no shape information ; use 'inputs'"),
        ({"c": np.array([1j])}, "Failed to write JSON value for tensor type: complex128"),
    ],
)
def test_outputs_that_json_cannot_represent(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(StatusError, match=message) as caught:
        response(outputs, by_row=True)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_empty_arrays_of_any_dtype() -> None:
    outputs = {"c": np.zeros((2, 0), np.complex64)}
    assert json.loads(response(outputs, by_row=True)) == {"predictions": [[], []]}
    assert json.loads(response(outputs, by_row=False)) == {"outputs": [[], []]}


def as_tensorflow_serving(value: float) -> float:
    """Six digits where they suffice, else nine."""
    short = float(f"{value:.6g}")
    return short if np.float32(short) == value else float(f"{value:.9g}")


@pytest.mark.parametrize("size", [1, 40, 1000, 100_000])
def test_decimals_of_any_float32(size: int) -> None:
    bits = np.random.default_rng(size).integers(0, 2**32, size, np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    found = decimals(values)
    assert found.tolist() == [as_tensorflow_serving(value) for value in values.tolist()]
    np.testing.assert_array_equal(found.astype(np.float32), values)


def test_special_decimals() -> None:
    limits = np.finfo(np.float32)
    values = np.array(
        [0.0, -0.0, 1e-45, limits.tiny, limits.max, -limits.max, 9e6, 555557.5, 3e-5, 16777217] * 9
        + [np.inf, -np.inf, np.nan],
        np.float32,
    )
    found = decimals(values)
    np.testing.assert_array_equal(
        found[:-3], [as_tensorflow_serving(v) for v in values.tolist()[:-3]]
    )
    np.testing.assert_array_equal(np.signbit(found[:-1]), np.signbit(values[:-1]))
    np.testing.assert_array_equal(found[-3:], [np.inf, -np.inf, np.nan])


def test_classification_equals_that_of_tensorflow_serving() -> None:
    scores = np.array([[0.1, 9], [-1e-9, np.nan]], np.float32)
    assert classification([["a", 'b"'], ["é", ""]], scores).decode() == (
        '{\n    "results": [[["a", 0.1], ["b\\"", 9.0]], [["é", -1e-09], ["", NaN]]\n    ]\n}'
    )
    values = np.array([3.5, np.inf, -np.inf, 4], np.float32)
    assert regression(values).decode() == ('{\n    "results": [3.5, Infinity, -Infinity, 4.0]\n}')


def test_labels_that_are_not_utf8_pass_through() -> None:
    label = b"\xff".decode("utf-8", "surrogateescape")
    assert b'"\xff"' in classification([[label]], np.zeros((1, 1), np.float32))


@given(
    labels=st.lists(st.text(max_size=5), min_size=1, max_size=3),
    scores=stnp.arrays(
        np.float32, (3, 3), elements=st.floats(width=32, allow_nan=False, allow_subnormal=True)
    ),
)
def test_any_label_and_score_round_trips(labels: list[str], scores: np.ndarray) -> None:
    scores = scores[: len(labels), : len(labels)]
    found = json.loads(classification([labels] * len(scores), scores))["results"]
    assert [[label for label, _ in example] for example in found] == [labels] * len(scores)
    back = np.array([[score for _, score in example] for example in found], np.float32)
    np.testing.assert_array_equal(back, scores)
