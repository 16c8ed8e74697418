"""Rows in which one column after the other is typical."""

import numpy as np

from rockstar_contract.tables import CategoricalColumn, DateColumn, NumericColumn, encode_row
from rockstar_serving.column_effects import column_effects, replaced_rows, typical_value

COLUMNS = (
    NumericColumn(name="age", mean=40.0, scale=10.0, fill=38.0, indicator=True),
    CategoricalColumn(name="colour", categories=("blue", "red"), fill="blue", other=True),
    DateColumn(name="day", format="iso", mean=19_723.0, scale=100.0, fill=19_723.0),
)
ROW = {"age": 60, "colour": "red", "day": "2024-03-01"}
TYPICAL = {"age": 40.0, "colour": "blue", "day": "2024-01-01"}


def test_each_copy_has_one_typical_column():
    rows = replaced_rows(encode_row(ROW, COLUMNS, "row"), COLUMNS)
    wanted = [ROW, *(ROW | {name: TYPICAL[name]} for name in TYPICAL)]
    np.testing.assert_array_equal(rows, [encode_row(row, COLUMNS, "row") for row in wanted])


def test_typical_values_are_those_that_are_shown():
    assert {column.name: typical_value(column) for column in COLUMNS} == TYPICAL


def test_a_missing_value_is_replaced_by_one_that_is_there():
    tensor = encode_row({"colour": "red"}, COLUMNS[:2], "row")
    assert tensor[1] == 1
    assert replaced_rows(tensor, COLUMNS[:2])[1][1] == 0


def test_effects_are_what_a_column_adds():
    np.testing.assert_allclose(column_effects(np.array([0.9, 0.4, 1.0])), [0.5, -0.1])
