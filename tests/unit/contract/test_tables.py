import contextlib
import json
import math

import msgspec
import numpy as np
import pytest

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.table_cells import date_text
from rockstar_contract.tables import (
    Adjustments,
    CategoricalColumn,
    Column,
    DateColumn,
    NumericColumn,
    TextRow,
    encode_columns,
    encode_row,
)
from tests.table_models import COLUMNS, ROW, TENSOR


def test_a_row_becomes_standardised_numbers_and_one_hot_categories():
    tensor = encode_row(ROW, COLUMNS, "row")
    assert tensor.dtype == np.float32
    assert tensor.tolist() == TENSOR
    assert encode_row(dict(reversed(ROW.items())), COLUMNS, "row").tolist() == TENSOR


def test_rows_of_csv_files_are_parsed():
    text = TextRow({"petal width": " 2.0", "color": "red "})
    assert encode_row(text, COLUMNS, "row").tolist() == TENSOR


def test_large_numbers_with_small_differences_stay_distinct():
    column = NumericColumn(name="t", mean=1.7e9, scale=1.0)
    assert encode_row({"t": 1.7e9 + 1}, [column], "row").tolist() == [1.0]


STRICT = [
    ({"color": "red"}, "row.petal width: expected a number, got nothing"),
    ({"petal width": 1, "color": None}, "row.color: expected one of 'blue', 'red', 'white', got nothing"),
    (ROW | {"tint": "red"}, "row.tint: expected just the columns 'petal width', 'color', got an unknown column 'tint'"),
    (ROW | {"petal width": "2.0"}, "row.petal width: expected a number, got the text '2.0'"),
    (ROW | {"petal width": True}, "got the boolean true"),
    (ROW | {"petal width": math.nan}, "got NaN"),
    (ROW | {"color": "green"}, "got the text 'green'"),
    (ROW | {"color": 5}, "got the number 5"),
    (TextRow({"petal width": " ", "color": "red"}), "got nothing"),
    (TextRow({"petal width": "nan", "color": "red"}), "got the text 'nan'"),
]  # fmt: skip
WRONG = [
    (ROW | {"petal width": [2]}, "got a list"),
    (ROW | {"petal width": {}}, "got an object"),
    (ROW | {"color": ["red"]}, "got a list"),
    (ROW | {"petal width": -math.inf}, "got the number -inf"),
    (ROW | {"petal width": 10**400}, "row.petal width: expected a finite number"),
    (ROW | {"petal width": 1e300}, "far too large"),
    (TextRow({"petal width": "wide", "color": "red"}), "row.petal width: expected a number, got the text 'wide'"),
    ({"width": 2, "tint": "red"}, "expected the columns 'petal width', 'color', got an unknown column 'width'"),
]  # fmt: skip


def adjusted(row, columns=COLUMNS):
    changes = Adjustments()
    return encode_row(row, columns, "row", adjusted=changes).tolist(), msgspec.to_builtins(changes)


@pytest.mark.parametrize(("row", "message"), STRICT)
def test_strict_errors_name_the_column(row, message):
    with pytest.raises(InvalidInputError) as caught:
        encode_row(row, COLUMNS, "row", strict=True)
    assert message in str(caught.value)
    encode_row(row, [COLUMNS[0], msgspec.structs.replace(COLUMNS[1], fill="blue")], "row")


@pytest.mark.parametrize(("row", "message"), WRONG)
def test_invalid_values_are_rejected_without_strict(row, message):
    with pytest.raises(InvalidInputError) as caught:
        encode_row(row, COLUMNS, "row")
    assert message in str(caught.value)
    json.dumps(caught.value.got)
    with pytest.raises(InvalidInputError):
        encode_row(row, COLUMNS, "row", strict=True)


@pytest.mark.parametrize("nothing", [None, math.nan, "", " ", "NA", "NaN", "n/a", "?", "NULL"])
def test_missing_values_are_imputed_and_reported(nothing):
    columns = (
        NumericColumn(name="age", mean=30.0, scale=10.0, fill=20.0, indicator=True),
        NumericColumn(name="size", mean=3.0, scale=1.0, fill=3.0),
        CategoricalColumn(name="sex", categories=("f", "m"), fill="m", indicator=True),
    )
    complete = {"age": 30, "size": 4, "sex": "f"}
    assert adjusted(complete, columns) == ([0, 0, 1, 1, 0, 0], {})
    changes = {"imputed": {"age": 20.0, "size": 3.0, "sex": "m"}}
    assert adjusted(dict.fromkeys(complete, nothing), columns) == ([-1, 1, 0, 0, 1, 1], changes)
    row, changes = adjusted({"sex": "f"}, columns)
    assert (row, changes) == ([-1, 1, 0, 1, 0, 0], {"imputed": {"age": 20.0, "size": 3.0}})


def test_unseen_categories_and_additional_columns():
    grouped = [CategoricalColumn(name="color", categories=("red",), other=True)]
    assert adjusted({"color": "green"}, grouped) == ([0, 1], {"other": {"color": "green"}})
    row, changes = adjusted(ROW | {"color": "green", "species": "one"})
    assert row == [2.0, 0, 0, 0]
    assert changes == {"other": {"color": "green"}, "ignored": ["species"]}


def test_unseen_categories_become_a_mixture():
    shares = (0.25, 0.75)
    column = CategoricalColumn(name="c", categories=("a", "b"), fill="b", shares=shares)
    # A linear model keeps an intercept that is part of the categories.
    assert adjusted({"c": "z"}, [column]) == ([0.25, 0.75], {"other": {"c": "z"}})
    assert adjusted({"c": "a"}, [column]) == ([1, 0], {})
    for wrong in ({"shares": (1.0,)}, {"shares": shares, "other": True}):
        with pytest.raises(ValueError, match="shares of 'c'"):
            CategoricalColumn(name="c", categories=("a", "b"), **wrong)


@pytest.mark.parametrize(
    ("categories", "value", "meant"),
    [
        (("false", "true"), True, "true"),
        (("False", "True"), False, "False"),
        (("no", "yes"), True, "yes"),
        (("FALSCH", "WAHR"), True, "WAHR"),
        (("ja", "nein"), False, "nein"),
        (("FAUX", "VRAI"), True, "VRAI"),
        (("0", "1"), False, "0"),
        (("1010", "8004"), 8004, "8004"),
        (("1.0", "2.0"), 2, "2.0"),
        (("NA", "EU"), "NA", "NA"),
        (("1.5", "2.5"), 2.5, "2.5"),
    ],
)
def test_json_values_match_categories_of_a_file(categories, value, meant):
    column = CategoricalColumn(name="c", categories=categories)
    expected = [float(name == meant) for name in categories]
    assert adjusted({"c": value}, [column]) == (expected, {})


@pytest.mark.parametrize(
    ("no", "yes"),
    [
        *[("False", "True"), ("FALSE", "TRUE"), ("0", "1"), ("no", "yes"), ("n", "y")],
        *[("F", "T"), ("FALSCH", "WAHR"), ("non", "oui"), ("0.0", "1.0")],
    ],
)
def test_booleans_in_other_spellings_than_in_training_are_understood(no, yes):
    column = CategoricalColumn(name="c", categories=(no, yes))
    falses = (False, 0, 0.0, "FALSE", "false", "False", "no", "NO", "0", "f", "n", "FALSCH", "non")
    for value in (True, 1, 1.0, "TRUE", "true", "True", "yes", "YES", "1", "t", "y", "WAHR", "oui"):
        assert adjusted({"c": value}, [column]) == ([0, 1], {})
    for value in falses:
        assert adjusted({"c": value}, [column]) == ([1, 0], {})
        if isinstance(value, str):
            assert adjusted(TextRow({"c": f" {value} "}), [column]) == ([1, 0], {})


@pytest.mark.parametrize(
    ("categories", "value", "meant"),
    [
        # Both spellings are categories.
        (("FALSE", "False", "TRUE", "True"), "False", "False"),
        (("FALSE", "False", "TRUE", "True"), "FALSE", "FALSE"),
        (("FALSE", "False", "TRUE", "True"), "yes", "TRUE"),
        (("0", "1", "False", "True"), "1", "1"),
        (("0", "1", "False", "True"), "TRUE", "True"),
        (("0", "1", "False", "True"), "yes", None),
        # Not all categories are booleans.
        (("maybe", "no", "yes"), "TRUE", "yes"),
        (("f", "n", "y"), "no", None),
        (("0", "1", "2"), "no", None),
        (("NO", "SE"), "false", None),
        (("True",), "FALSE", None),
    ],
)
def test_spellings_of_a_boolean_may_be_separate_categories(categories, value, meant):
    column = CategoricalColumn(name="c", categories=categories)
    expected = [float(name == meant) for name in categories]
    other = {"other": {"c": value}} if meant is None else {}
    assert adjusted({"c": value}, [column]) == (expected, other)


def test_spellings_of_a_category_that_two_categories_share_are_unknown():
    column = CategoricalColumn(name="c", categories=("Red", "blue", "red"))
    for value, expected, other in (
        ("BLUE ", [0, 1, 0], {}),
        ("red", [0, 0, 1], {}),
        ("RED", [0, 0, 0], {"other": {"c": "RED"}}),
    ):
        assert adjusted({"c": value}, [column]) == (expected, other)


def test_a_column_of_0_and_1_takes_booleans_in_all_spellings():
    values = np.array([0.0, 1, 1, 0, 0, 1, 0])
    column = NumericColumn(name="n", mean=values.mean(), scale=values.std(), fill=0.0)
    ones, zeros = encode_row({"n": 1}, [column], "row"), encode_row({"n": 0}, [column], "row")
    for value in ("TRUE", "yes", "y", "wahr", "Oui", True, "1"):
        assert adjusted({"n": value}, [column]) == (ones.tolist(), {})
    for value in ("FALSE", "no", "f", "falsch", "Non", False, "0"):
        assert adjusted({"n": value}, [column]) == (zeros.tolist(), {})
    always = NumericColumn(name="n", mean=1.0, scale=1.0, fill=1.0, indicator=True)
    assert adjusted({"n": "TRUE"}, [always]) == ([0, 0], {})
    for other in ([0, 1, 2], [0, 0.5, 1], [0, 1, 1, 1.01]):
        column = NumericColumn(name="n", mean=np.mean(other), scale=np.std(other), fill=1.0)
        with pytest.raises(InvalidInputError, match="expected a number, got the text 'TRUE'"):
            encode_row({"n": "TRUE"}, [column], "row")


def test_numbers_as_people_write_them():
    column = NumericColumn(
        name="price", mean=0.0, scale=1.0, decimal=",", missing=("ausverkauft",), fill=0.0
    )
    for text, number in [("1.234", 1234), ("1.234,5", 1234.5), ("5,1 €", 5.1), ("12 %", 12)]:
        assert adjusted({"price": text}, [column]) == ([np.float32(number)], {})
    assert adjusted({"price": "ausverkauft"}, [column])[1] == {"imputed": {"price": 0.0}}
    assert adjusted({"price": True}, [column]) == ([1], {})
    row = TextRow({"price": "1.234"})
    row.decimal = "."
    assert adjusted(row, [column]) == ([np.float32(1.234)], {})
    # In files that mix both signs, as in training, each column keeps its own.
    share = NumericColumn(name="share", mean=0.0, scale=1.0)
    for decimal, numbers in ((",", [1234, 1.25]), (".", [1234, 1.25])):
        row = TextRow({"price": "1.234", "share": "1.250"})
        row.decimal = decimal
        assert adjusted(row, [column, share])[0] == numbers


def test_dates_are_encoded_as_days_and_circles():
    column = DateColumn(name="d", format="%d.%m.%Y", mean=19000.0, scale=10.0, fill=19010.0)
    assert column.width == len(column.features) == 7
    for text in ("08.01.2022", "2022-01-08", "2022-01-08T00:00:00Z"):
        (row, changes) = adjusted({"d": text}, [column])
        assert changes == {}
        # A Saturday, and the eighth day of the year and of the month.
        year, month, week = 2 * np.pi * 7 / 366, 2 * np.pi * 7 / 31, 2 * np.pi * 5 / 7
        circles = [f(angle) for angle in (year, month, week) for f in (np.sin, np.cos)]
        np.testing.assert_allclose(row, [0, *circles], atol=1e-6)
    assert adjusted({"d": None}, [column])[1] == {"imputed": {"d": "2022-01-18"}}
    with pytest.raises(InvalidInputError, match=r"a date such as 2022-01-18 or 18\.01\.2022, got"):
        adjusted({"d": "yesterday"}, [column])


def test_times_are_encoded_as_a_place_in_the_day():
    column = DateColumn(name="t", format="time", mean=0.5, scale=0.25, fill=0.75, time=True)
    assert column.features == ("t", "t: day, sin", "t: day, cos")
    for text in ("18:00", "18:00:00", "6:00 PM"):
        np.testing.assert_allclose(adjusted({"t": text}, [column])[0], [1, -1, 0], atol=1e-6)
    assert adjusted({"t": ""}, [column])[1] == {"imputed": {"t": "18:00"}}
    with pytest.raises(
        InvalidInputError, match="t: expected a time such as 18:00, got the text '25:00'"
    ):
        adjusted({"t": "25:00"}, [column])


def test_columns_of_all_kinds_are_encoded_alike_at_once_and_one_by_one():
    random = np.random.default_rng(0)
    columns = (
        NumericColumn(name="n", mean=3.3, scale=0.7, fill=2.1, indicator=True),
        CategoricalColumn(name="c", categories=("a", "b"), fill="b", other=True, indicator=True),
        DateColumn(
            name="d", format="iso", mean=1e4, scale=1e3, fill=9e3, time=True, indicator=True
        ),
    )
    values = {
        "n": np.where(random.random(200) < 0.2, np.nan, random.normal(3, 1e5, 200)),
        "c": random.choice(np.array(["a", "b", "z", None]), 200).tolist(),
        "d": np.where(random.random(200) < 0.2, np.nan, random.integers(-9999, 30000, 200) + 0.25),
    }
    together = encode_columns(values, columns)
    assert together.shape == (200, sum(column.width for column in columns))
    for place, row in enumerate(together):
        cells = {name: found[place] for name, found in values.items()}
        cells["d"] = None if np.isnan(cells["d"]) else date_text(cells["d"])
        np.testing.assert_array_equal(encode_row(cells, columns, "row"), row)


def test_columns_of_earlier_exports_require_complete_rows():
    old = b'[{"kind":"numeric","name":"a","mean":1.0,"scale":2.0},{"kind":"categorical","name":"b","categories":["x"]}]'
    columns = msgspec.json.decode(old, type=tuple[Column, ...])
    assert msgspec.json.decode(msgspec.json.encode(columns)) == msgspec.json.decode(old)
    assert adjusted({"a": 3, "b": "y"}, columns) == ([1, 0], {"other": {"b": "y"}})
    for row, message in [
        ({"a": None, "b": "x"}, "row.a: expected a number, got nothing"),
        ({"a": 1}, "row.b: expected one of 'x', got nothing"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            adjusted(row, columns)


@pytest.mark.parametrize(
    "value",
    [
        *(10**30, -(10**400), 1e300, True, [], {}, "²", "½", "٣", "1e999", "()", "$", "x" * 9999),
        *("0001-01-01T00:00+14:00", "9999-12-31T23:00-12:00", "31.12.9999", "\ud800", "1" * 9999),
        *(" " * 50_000 + "x", "$" + " " * 50_000, "1," * 30_000, "1 " * 30_000, "." * 50_000),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_any_cell_is_a_value_or_an_error(value, strict):
    columns = (
        NumericColumn(name="n", mean=0.0, scale=1.0, fill=0.0),
        CategoricalColumn(name="c", categories=("x",), fill="x"),
        DateColumn(name="d", format="%d.%m.%Y", mean=0.0, scale=1.0, fill=0.0, time=True),
    )
    for column in columns:
        for row in ({column.name: value}, TextRow({column.name: str(value)})):
            with contextlib.suppress(InvalidInputError):
                assert np.isfinite(encode_row(row, [column], "row", strict=strict)).all()
