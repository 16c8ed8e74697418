import json
import math

import numpy as np
import pytest

from serving.errors import InvalidInputError
from serving.tables import NumericColumn, TextRow, encode_columns, encode_row
from tests.table_models import COLUMNS, ROW, TENSOR


def test_a_row_becomes_standardised_numbers_and_one_hot_categories():
    tensor = encode_row(ROW, COLUMNS, "row")
    assert tensor.dtype == np.float32
    assert tensor.tolist() == TENSOR
    assert encode_row(dict(reversed(ROW.items())), COLUMNS, "row").tolist() == TENSOR


def test_text_of_a_csv_file_is_the_same_row():
    text = TextRow({"petal width": " 2.0", "colour": "red "})
    assert encode_row(text, COLUMNS, "row").tolist() == TENSOR


def test_many_rows_at_once_are_the_rows_one_by_one():
    numbers = np.random.default_rng(0).normal(3, 1e5, 50)
    colours = ["blue", "white", "red", "red", "blue"] * 10
    together = encode_columns({"petal width": numbers, "colour": colours}, COLUMNS)
    for row, number, colour in zip(together, numbers, colours, strict=True):
        alone = encode_row({"petal width": float(number), "colour": colour}, COLUMNS, "row")
        np.testing.assert_array_equal(alone, row)


def test_large_numbers_that_differ_by_little_stay_apart():
    column = NumericColumn(name="t", mean=1.7e9, scale=1.0)
    assert encode_row({"t": 1.7e9 + 1}, [column], "row").tolist() == [1.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"colour": "red"}, "row.petal width: expected a number, got nothing"),
        ({"petal width": 1, "colour": None}, "row.colour: expected one of 'blue', 'red', 'white', got nothing"),
        (ROW | {"color": "red"}, "row.color: expected just the columns 'petal width', 'colour', got an unknown column 'color'"),
        (ROW | {"petal width": "2.0"}, "row.petal width: expected a number, got the text '2.0'"),
        (ROW | {"petal width": True}, "got the boolean true"),
        (ROW | {"petal width": [2]}, "got a list"),
        (ROW | {"petal width": {}}, "got an object"),
        (ROW | {"petal width": math.nan}, "got NaN"),
        (ROW | {"petal width": -math.inf}, "got the number -inf"),
        (ROW | {"petal width": 10**400}, "row.petal width: expected a finite number"),
        (ROW | {"petal width": 1e300}, "far too large"),
        (ROW | {"colour": "green"}, "got the text 'green'"),
        (ROW | {"colour": 5}, "got the number 5"),
        (TextRow({"petal width": "wide", "colour": "red"}), "row.petal width: expected a number, got the text 'wide'"),
        (TextRow({"petal width": " ", "colour": "red"}), "got nothing"),
        (TextRow({"petal width": "nan", "colour": "red"}), "got NaN"),
    ],
)  # fmt: skip
def test_what_a_column_cannot_have_is_refused_by_its_name(row, message):
    with pytest.raises(InvalidInputError) as caught:
        encode_row(row, COLUMNS, "row")
    assert message in str(caught.value)
    json.dumps(caught.value.got)
