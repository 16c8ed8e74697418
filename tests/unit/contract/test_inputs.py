"""Conversion of examples to the arrays that a contract describes."""

import json

import numpy as np
import pytest

from rockstar_contract.contract import TensorInput, TensorSpec
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import from_json, prepare, read_tensors, stack, to_json
from tests.contracts import make_contract
from tests.spreadsheets import NAMES
from tests.table_models import INPUT

SPEC = make_contract().input
ULP = float(np.spacing(np.float32(1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (1.0, 1.0),
        (1 + 2**-52, 1.0),
        (1 + ULP, 1.0),
        (1 + 4 * ULP, 1.0),
        (-1e-17, 0.0),
        (-ULP, 0.0),
        (-0.0, 0.0),
    ],
)
def test_rounding_errors_are_clipped_to_the_range(dtype, value, taken):
    """Such values result from float32 arithmetic, averaging and interpolation."""
    array = np.full(SPEC.shape, value, dtype)
    prepared = prepare(array, SPEC, field="x")
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, np.full(SPEC.shape, taken, np.float32))
    np.testing.assert_array_equal(array, np.full(SPEC.shape, value, dtype))
    np.testing.assert_array_equal(prepare(array.tolist(), SPEC, field="x"), prepared)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (1.001, "0 to 1.001"),
        (-0.001, "-0.001 to 0"),
        (255, "0 to 255"),
        (np.nan, "NaN"),
        (np.inf, "infinity"),
        (-np.inf, "infinity"),
    ],
)
def test_values_out_of_range_are_rejected(value, got):
    array = np.zeros(SPEC.shape)
    array[0, 0] = value
    with pytest.raises(InvalidInputError, match="values from 0 to 1") as caught:
        prepare(array, SPEC, field="x")
    assert got in caught.value.got


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", [SPEC, INPUT])
def test_a_workbook_is_to_be_saved_as_csv(spec, name):
    data, kind = NAMES[name]
    with pytest.raises(InvalidInputError) as caught:
        prepare(data, spec, field="x")
    assert (caught.value.got, caught.value.hint) == (kind, "save the sheet as CSV (UTF-8)")


TENSORS = TensorInput(
    tensors=(
        TensorSpec(name="ids", dtype="int32", shape=(None,)),
        TensorSpec(name="price", dtype="float32", shape=(1,)),
        TensorSpec(name="text", dtype="string", shape=()),
    )
)
EXAMPLE = {"ids": [1, 2, 3], "price": [0.5], "text": "grün"}


def test_values_become_arrays_of_the_input_dtypes():
    arrays = read_tensors(EXAMPLE, TENSORS, "instances[0]")
    assert {name: array.dtype.str for name, array in arrays.items()} == {
        "ids": "<i4",
        "price": "<f4",
        "text": "|O",
    }
    assert arrays["text"].item() == "grün".encode()
    batch = stack([arrays, arrays], ["a", "b"])
    assert {name: array.shape for name, array in batch.items()} == {
        "ids": (2, 3),
        "price": (2, 1),
        "text": (2,),
    }


@pytest.mark.parametrize(
    ("dtype", "shape", "value", "array"),
    [
        ("float32", (2,), [1, 2], [1, 2]),
        ("float32", (1,), 0.5, [0.5]),
        ("string", (1,), "good film", [b"good film"]),
        ("string", (1,), ["good film"], [b"good film"]),
    ],
)
def test_one_input_needs_no_name_and_one_value_no_list(dtype, shape, value, array):
    spec = TensorInput(tensors=(TensorSpec(name="x", dtype=dtype, shape=shape),))
    for example in (value, {"x": value}):
        assert read_tensors(example, spec, "x")["x"].tolist() == array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": [1.5]}, r"x\.ids: expected int32 of shape \[any\]: whole numbers from .* got 1.5"),
        ({"ids": [2**40]}, "whole numbers from -2147483648 to 2147483647"),
        ({"ids": [[1]]}, r"x\.ids: expected int32 of shape \[any\], got shape \[1, 1\]"),
        ({"ids": 1}, r'got shape \[\]; send .*\[{"ids": \[…\], "price": …, "text": "…"}\]'),
        ({"ids": ["a"]}, r"x\.ids: expected int32 of shape \[any\], got text"),
        ({"ids": [[1], [1, 2]]}, "got a ragged array"),
        ({"ids": None}, "x.ids: expected int32"),
        ({"price": [float("nan")]}, r"x\.price: .*got NaN"),
        ({"text": 3}, "x.text: expected string .* got values that are not text"),
        ({"other": 3}, r"x: expected the inputs ids \(int32 of shape \[any\]\), .* got other"),
    ],
)
def test_invalid_tensors_are_named(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        read_tensors(EXAMPLE | changes, TENSORS, "x")


def test_missing_inputs_are_named_with_an_example():
    with pytest.raises(InvalidInputError, match=r'x\.price: .* got nothing; send .*"price": …'):
        read_tensors({"ids": [1], "text": ""}, TENSORS, "x")
    with pytest.raises(InvalidInputError, match="expected an object with the inputs ids"):
        read_tensors([1], TENSORS, "x")


def test_examples_of_different_shapes_cannot_be_stacked():
    short = read_tensors(EXAMPLE | {"ids": [1]}, TENSORS, "x")
    with pytest.raises(InvalidInputError, match=r"b\.ids: expected the shape of the first example"):
        stack([read_tensors(EXAMPLE, TENSORS, "x"), short], ["a", "b"])


def test_bytes_that_are_not_text_become_base64():
    array = np.array([b"abc", b"\xff"], dtype=object)
    assert to_json(array) == ["abc", {"b64": "/w=="}]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[0.1, np.pi], [1e-30, -3e38]], np.float32), "float32"),
        (np.array([2**63 - 1, -(2**63)], np.int64), "int64"),
        (np.array([2**64 - 1], np.uint64), "uint64"),
        (np.array([True, False]), "bool"),
        (np.array([["grün".encode(), b"\xff"], [b"", b"a"]], object), "string"),
        (np.array([b"a", b"b"], object), "string"),
    ],
)
def test_json_round_trip(array, dtype):
    again = from_json(json.loads(json.dumps(to_json(array))), dtype)
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.tolist() == array.tolist()
