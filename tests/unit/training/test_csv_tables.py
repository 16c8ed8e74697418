import gzip
import hashlib
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.tables import CategoricalColumn, NumericColumn, encode_row
from rockstar_training.config import config_for
from rockstar_training.csv_tables import TableExamples, fit_columns, read_csv
from rockstar_training.errors import DataError

PETS = """weight,color,legs,kind
4.5,black,4,cat
5.5,white,4,cat
0.5,green,2,bird
30,black,4,dog
"""


@pytest.fixture
def csv(tmp_path):
    def write(text: str | bytes = PETS):
        path = tmp_path / "pets.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_target_of_texts_is_a_classification(csv):
    table = read_csv(csv(), "kind")
    assert table.label_names == ("bird", "cat", "dog")
    assert table.targets.tolist() == [1, 1, 0, 2]
    assert table.targets.dtype == np.int64
    assert table.columns["weight"].values.tolist() == [4.5, 5.5, 0.5, 30]
    assert table.columns["color"].values == ["black", "white", "green", "black"]
    assert table.sha256 == hashlib.sha256(PETS.encode()).hexdigest()


def test_a_target_of_numbers_is_a_regression_or_a_classification_on_request(csv):
    table = read_csv(csv(), "weight")
    assert (table.label_names, table.targets.dtype) == ((), np.float32)
    assert table.targets.tolist() == [4.5, 5.5, 0.5, 30]
    table = read_csv(csv("x,y\n1,10\n2,9\n3,10\n"), "y", "classification")
    assert (table.label_names, table.targets.tolist()) == (("9", "10"), [1, 0, 1])


def test_columns_are_fitted_on_the_rows_to_train_on(csv):
    table = read_csv(csv(), "kind")
    weight, color, legs = fit_columns(table, np.array([0, 1]))
    assert weight == NumericColumn(name="weight", mean=5.0, scale=0.5, fill=5.0)
    assert color == CategoricalColumn(
        name="color", categories=("black", "white"), fill="black", shares=(0.5, 0.5)
    )
    assert legs == NumericColumn(name="legs", mean=4.0, scale=1.0, fill=4.0)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (PETS, None, r"--target\), one of 'weight', 'color', 'legs', 'kind'"),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "species", "the first line must have the names of the columns"),
        (PETS, "king", r"no column 'king'.*did you mean 'kind'\?"),
        ("Report;2024;\nsize;weight;kind\n1;2;x\n", "kind", "the first line must have the names of the columns"),
        ("Rate\nSource: BLS, 2020\nyear,period,value\n" + "1959,Q1,5.8\n" * 9, "value", "in line 2; .* the first line must have the names of all"),
        (",kind,y\n1,a,u\n2,b,v\n", "Kind of", r"did you mean 'kind'\?"),
        (PETS.replace("5.5", "1e300"), "weight", "column 'weight' has '1e300'"),
        ("a,b\n1,x\n2,x\n", "b", "'b' has the same value"),
        ("a\n1\n2\n", "a", "no column to learn from besides the target"),
        ("id,y\n" + "".join(f"id{i},{i % 2}\n" for i in range(30)), "y", "column 'id' is left out: .* 30 different"),
        ("a,y\n" + "".join(f"img/{i}.JPG,{i % 2}\n" for i in range(30)), "y", "'a' is left out: it names files.* Image folders"),
        ("x,y\n" + "".join(f"{i},t{i}\n" for i in range(30)), "y", "'y' has 30 different .* too many for classes"),
        ("a,b\n", "a", "expected rows below the header"),
        ("", "a", "expected a header row"),
        ("a,b\n1\n", "a", "got 1 in line 2"),
        ('a,b\n"1\n2",3\n4,"5\n6,7\n', "a", "line 5: .*; a quotation mark in line 4 is not closed"),
        ("ä,b\n".encode() + b"\xff,2\n", "b", "UTF-8"),
    ],
)  # fmt: skip
def test_errors_about_invalid_data_name_column_and_line(csv, text, target, message):
    with pytest.raises(DataError, match=message):
        read_csv(csv(text), target)


def test_a_regression_of_texts_is_refused(csv):
    with pytest.raises(DataError, match="column 'kind' has 'cat' in line 2; a regression"):
        read_csv(csv(), "kind", "regression")
    with pytest.raises(DataError, match="'y' has 'many' in line 3; a regression"):
        read_csv(csv("x,y\n1,2\n2,many\n3,4\n"), "y", "regression")


def test_columns_can_be_ignored_if_they_are_there(csv):
    assert [*read_csv(csv(), "kind", ignore=["legs", "color"]).columns] == ["weight"]
    with pytest.raises(DataError, match=r"no column 'leg'.*'legs'"):
        read_csv(csv(), "kind", ignore=["leg"])


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(DataError, match=f"{path} cannot be read"):
            read_csv(path, "y")


def test_missing_values_are_filled_from_the_rows_to_train_on_as_scikit_learn_does(csv):
    random = np.random.default_rng(0)
    rows = [
        [random.choice(["", "NA", "?", f"{random.normal():.3f}"], p=[0.1, 0.1, 0.1, 0.7]),
         random.choice(["", "NaN", "a", "b", "c"], p=[0.1, 0.1, 0.2, 0.3, 0.3]),
         number % 3]
        for number in range(300)
    ]  # fmt: skip
    text = "n,c,y\n" + "".join(f"{n},{c},{y}\n" for n, c, y in rows)
    table = read_csv(csv(text), "y")
    train = np.arange(0, 300, 2)
    columns = fit_columns(table, train)
    encoded = TableExamples(table, columns).tensors(np.arange(300))

    numbers = table.columns["n"].values.reshape(-1, 1)
    texts = np.array(table.columns["c"].values, dtype=object).reshape(-1, 1)
    # Of the imputer's indicators, only the last column is used, after the scaled or encoded ones.
    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    category = make_pipeline(
        SimpleImputer(strategy="most_frequent", missing_values=None),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    wanted = [
        numeric.fit(numbers[train]).transform(numbers),
        np.isnan(numbers),
        category.fit(texts[train]).transform(texts),
        texts == None,  # noqa: E711 - element by element
    ]
    np.testing.assert_allclose(encoded, np.hstack(wanted).astype(np.float64), atol=1e-5)
    assert [column.indicator for column in columns] == [True, True]
    for place in range(300):
        row = encode_row(TableExamples(table, columns).raw(place), columns, "row")
        np.testing.assert_array_equal(row, encoded[place])


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["5,1", "4,9", "1,234"], [5.1, 4.9, 1.234]),
        (['"1,234.5"', '"12,000"', "7"], [1234.5, 12000, 7]),
        (["1.234,50", "12.000,00", "7,25"], [1234.5, 12000, 7.25]),
        (["$1.50", "-$2", "($3.25)"], [1.5, -2, -3.25]),
        (["12 %", "7.5%", "0%"], [12, 7.5, 0]),
        (["1 234,5 €", "7,1 €", "8,2 €"], [1234.5, 7.1, 8.2]),
        (["1\u202f234", "12\u00a0345", "7"], [1234, 12345, 7]),
        (["1'234.50", "7", "8"], [1234.5, 7, 8]),
        (['"5"', '"6"', '"7"'], [5, 6, 7]),
        (["−5", "6", "7"], [-5, 6, 7]),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(csv, texts, numbers):
    table = read_csv(
        csv("n;y\n" + "".join(f"{text};{'ab'[i % 2]}\n" for i, text in enumerate(texts))), "y"
    )
    assert table.columns["n"].values.tolist() == numbers
    (column,) = fit_columns(table, np.arange(3))
    for text, number in zip(texts, numbers, strict=True):
        served = encode_row({"n": text.strip('"')}, [column], "row")
        np.testing.assert_array_equal(served, encode_row({"n": number}, [column], "row"))


def rows_of(names, *columns):
    return "\n".join([names, *(",".join(map(str, row)) for row in zip(*columns, strict=True))])


def test_columns_that_say_nothing_are_left_out_and_named(csv):
    every = range(60)
    text = rows_of(
        "PassengerId,,name,version,empty,age,y",
        [i + 892 for i in every],
        every,
        [f"Person {i}" for i in every],
        [1] * 60,
        [""] * 60,
        [i % 7 for i in every],
        ["ab"[i % 2] for i in every],
    )
    table = read_csv(csv(text), "y")
    assert [*table.columns] == ["age"]
    said = " ".join(table.notes)
    for name in ("PassengerId", "Unnamed: 1", "name", "version", "empty"):
        assert f"column '{name}' is left out" in said
    kept = read_csv(csv(text), "y", types={"PassengerId": "number", "name": "category"})
    assert [*kept.columns] == ["PassengerId", "name", "age"]
    number, name, _ = fit_columns(kept, np.arange(60))
    assert (number.width, name.width) == (1, 60)


def test_codes_and_chosen_columns_are_categories(csv):
    every = range(60)
    text = rows_of(
        "zip,plant,y",
        ["01069" if i % 3 else "10115" for i in every],
        [1000 + i % 4 for i in every],
        ["ab"[i % 2] for i in every],
    )
    zips, plants = fit_columns(read_csv(csv(text), "y"), np.arange(60))
    assert zips.categories == ("01069", "10115")
    assert isinstance(plants, NumericColumn)
    _, plants = fit_columns(read_csv(csv(text), "y", types={"plant": "category"}), np.arange(60))
    assert plants.categories == ("1000", "1001", "1002", "1003")
    zips, _ = fit_columns(read_csv(csv(text), "y", types={"zip": "number"}), np.arange(60))
    assert isinstance(zips, NumericColumn)


def test_of_many_categories_the_frequent_ones_are_kept(csv):
    texts = [f"c{i // 2 if i < 300 else 0}" for i in range(400)]
    text = rows_of("c,y", texts, ["ab"[i % 2] for i in range(400)])
    table = read_csv(csv(text), "y")
    assert table.notes == ("column 'c' has 150 categories: the 100 most frequent ones are kept, the rest is \"other\"",)  # fmt: skip
    (column,) = fit_columns(table, np.arange(400))
    assert (column.width, column.other) == (101, True)
    assert "c0" in column.categories


@pytest.mark.parametrize(
    ("texts", "days"),
    [
        (["2022-01-08", "2022-01-09"], [19000, 19001]),
        (["2022-01-08 12:00:00", "2022-01-09T00:00Z"], [19000.5, 19001]),
        (["8.1.2022", "31.12.2022"], [19000, 19357]),
        (["1/8/2022", "12/31/2022"], [19000, 19357]),
        (["8/1/2022", "31/12/2022"], [19000, 19357]),
        (["8 Jan 2022", "31 Dec 2022"], [19000, 19357]),
        (["Jan 8 2022", '"Dec 31, 2022"'], [19000, 19357]),
        (["Jan-08-2022", "Dec-31-2022"], [19000, 19357]),
        (["Sat Jan 08 12:00:00 2022", "Sat Dec 31 00:00:00 2022"], [19000.5, 19357]),
        (['"Sat, 8 Jan 2022 14:00:00 +0200"', "31 Dec 2022 00:00:00 +0000"], [19000.5, 19357]),
        (["Jan 2022", "Mar 2022"], [18993, 19052]),
        (["2022-01-08", "NA"], [19000, None]),
        (["18:00", "9:00 pm"], [0.75, 0.875]),
    ],
)
def test_dates_and_times_are_found_however_they_are_written(csv, texts, days):
    table = read_csv(csv(rows_of("d,x,y", texts * 4, range(8), ["a", "b"] * 4)), "y")
    found = table.columns["d"]
    assert found.type == "date"
    wanted = [np.nan if day is None else day for day in days]
    np.testing.assert_array_equal(found.values[:2], wanted)
    columns = fit_columns(table, np.arange(8))
    examples = TableExamples(table, columns)
    row = encode_row(examples.raw(0), columns, "row")
    np.testing.assert_array_equal(row, examples.tensors(np.array([0]))[0])


def test_a_few_texts_among_numbers_count_as_missing(csv):
    texts = [*map(str, range(40)), "sold out", "n.a."]
    table = read_csv(csv(rows_of("n,y", texts, ["a", "b"] * 21)), "y")
    assert "column 'n': 'sold out' counts as missing" in table.notes
    (column,) = fit_columns(table, np.arange(42))
    assert (column.missing, column.indicator) == (("sold out",), True)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["23.4 kmpl", "17 kmpl", "0.5 kmpl"], [23.4, 17, 0.5]),
        (["1,248CC", "998CC", "1,010CC"], [1248, 998, 1010]),
        (["5 km/h", "-7 km/h", "NA"], [5, -7, np.nan]),
        (["€1.5M", "€12 M", "€0.5M"], [1.5, 12, 0.5]),
        (["R$ 5", "Rs. 1,700", "US$7"], [5, 1700, 7]),
        (["1.2K", "950", "3.5M"], [1200, 950, 3.5e6]),
        (["45 Lac", "1.2 Cr", "NA"], [4.5e6, 1.2e7, np.nan]),
        (["8GB", "8MB", "16GB"], [8e9, 8e6, 16e9]),
        (["2h 50m", "19h", "5m"], [10200, 68400, 300]),
        (["26:10:05", "56:29", "0:07"], [94205, 3389, 7]),
        (["12A", "14B", "16"], None),  # house numbers
        (["5 m", "4", "7 m"], None),
        (["1st", "2nd", "3rd"], None),
        (["A1", "A2", "A3"], None),
    ],
)
def test_numbers_with_one_unit_are_numbers(csv, texts, wanted):
    cells = [f'"{text}"' for text in texts] * 5
    table = read_csv(csv(rows_of("n,x,y", cells, range(15), ["a", "b", "b"] * 5)), "y")
    column = table.columns["n"]
    assert column.type == ("category" if wanted is None else "number")
    if wanted is not None:
        np.testing.assert_array_equal(column.values[:3], wanted)
        fitted = fit_columns(table, np.arange(15))
        served = encode_row({"n": texts[1], "x": 1}, fitted, "row")
        np.testing.assert_array_equal(
            served, TableExamples(table, fitted).tensors(np.array([1]))[0]
        )
        columns = fit_columns(table, np.arange(15))
        encoded = TableExamples(table, columns).tensors(np.arange(1))[0]
        for cell in (texts[0], wanted[0]):
            np.testing.assert_array_equal(encode_row({"n": cell, "x": 0}, columns, ""), encoded)


def test_ranges_and_bounds_among_numbers(csv):
    texts = [*map(str, range(40)), "2100 - 2850", "<0.5", "65+", "≥ 7", "3–4.5", "n.d.", "2 bis 3"]
    table = read_csv(csv(rows_of("n,y", texts, [*"ab" * 23, "a"])), "y")
    numbers = [2475, 0.5, 65, 7, 3.75, np.nan, np.nan]
    np.testing.assert_array_equal(table.columns["n"].values[40:], numbers)
    assert "column 'n' has ranges or bounds: '2100 - 2850' is 2475" in table.notes
    assert "column 'n': '2 bis 3', 'n.d.' counts as missing" in table.notes
    (column,) = fit_columns(table, np.arange(47))
    assert [column.parse(text, "", None) for text in ("10 to 20", "> 1,000")] == [15, 1000]
    # Few different values are categories, as are ranges only.
    bands = read_csv(csv(rows_of("n,y", ["25-34", "35-44", "65+"] * 5, ["a", "b", "b"] * 5)), "y")
    assert bands.columns["n"].type == "category"


@pytest.mark.parametrize(
    ("others", "sentinel", "missing"),
    [
        (range(50), "-999", True),
        (range(50), "-999.00", True),
        (range(1000), "-99", True),  # the only negative number
        (range(-30, 40), "-9999", True),
        (range(-30, 40), "-99", False),
        (range(1, 28), "999", True),
        (range(40), "99.99", False),
        (range(5000), "9999", False),
        (range(50), "-1", False),
        (range(50), "-998", False),
    ],
)
def test_numbers_that_mean_missing(csv, others, sentinel, missing):
    texts = [*map(str, others), *[sentinel] * 3]
    file = csv(rows_of("n,y", texts, ("ab" * len(texts))[: len(texts)]))
    table = read_csv(file, "y")
    assert table.columns["n"].missing == 3 * missing
    note = f"'{float(sentinel):.15g}' counts as missing; if it is a number, give --type n=number"
    assert (f"column 'n': {note}" in table.notes) == missing
    assert read_csv(file, "y", types={"n": "number"}).columns["n"].missing == 0
    columns = fit_columns(table, np.arange(len(texts)))
    encoded = TableExamples(table, columns).tensors(np.array([len(others)]))[0]
    for cell in (sentinel, float(sentinel)):
        np.testing.assert_array_equal(encode_row({"n": cell}, columns, "row"), encoded)


def test_infinite_numbers_count_as_missing_in_training_and_serving(csv):
    table = read_csv(csv("flow,kind\n" + "1,a\n2,b\nInfinity,a\n-inf,b\n3,a\n" * 4), "kind")
    assert "column 'flow': '-inf', 'inf' counts as missing" in table.notes
    columns = fit_columns(table, np.arange(20))
    encoded = TableExamples(table, columns).tensors(np.array([2]))[0]
    for cell in ("", "Infinity", "-Infinity", np.inf):
        np.testing.assert_array_equal(encode_row({"flow": cell}, columns, "row"), encoded)


@pytest.mark.parametrize("sentinels", [["-999", "999"], ["-9999", "9999"], ["99", "999", "9999"]])
def test_several_numbers_that_mean_missing(csv, sentinels):
    texts = [*map(str, range(-3, 10)), *sentinels * 3, "5"]
    table = read_csv(csv(rows_of("n,y", texts, ("ab" * len(texts))[: len(texts)])), "y")
    assert table.columns["n"].missing == 3 * len(sentinels)


def test_dates_of_which_some_are_in_iso_8601(csv):
    text = rows_of("d,y", ["2024-02-01", "02/03/2024", "02/13/2024"] * 5, [*"aab"] * 5)
    column = read_csv(csv(text), "y").columns["d"]
    assert (column.format, np.diff(column.values[:3]).tolist()) == ("%m/%d/%Y", [2, 10])


@pytest.mark.parametrize(
    ("name", "texts", "form"),
    [
        ("q", ["2024Q1", "2024Q2", "2024Q4"], "quarter"),
        ("q", ["Q1 2024", "Q2 2024", "Q4 2024"], "quarter"),
        ("m", ["2024M01", "2024M04", "2024M10"], "%YM%m"),
        ("d", ["20240101", "20240401", "20241001"], "%Y%m%d"),
        ("created_at", ["1704067200", "1711929600", "1727740800"], "unix"),
        ("timestamp", ["1704067200000", "1711929600000", "1727740800000"], "unix milliseconds"),
        ("phone", ["1704067200", "1711929600", "1727740800"], None),
        ("id", ["20240001", "20240002", "20240003"], None),
    ],
)
def test_quarters_and_numbers_that_are_dates(csv, name, texts, form):
    table = read_csv(csv(rows_of(f"{name},y", texts * 9, [*"aab"] * 9)), "y")
    column = table.columns[name]
    assert column.type == ("number" if form is None else "date")
    if form is not None:
        dates = np.array(["2024-01-01", "2024-04-01", "2024-10-01"], "datetime64[D]")
        assert (column.format, column.values[:3].tolist()) == (form, dates.astype(int).tolist())
        columns = fit_columns(table, np.arange(27))
        cells = [texts[1], "2024-04-01", *([int(texts[1])] if texts[1].isdigit() else [])]
        rows = [encode_row({name: cell}, columns, "row") for cell in cells]
        np.testing.assert_array_equal(rows, TableExamples(table, columns).tensors([1] * len(rows)))


def test_rows_without_a_target_are_left_out(csv):
    table = read_csv(csv("x,y\n1,a\n2,NA\n3,b\n4,\n5,a\n"), "y")
    assert table.targets.tolist() == [0, 1, 0]
    assert table.columns["x"].values.tolist() == [1, 3, 5]
    assert table.notes == ("rows without a value in 'y' are left out: 2 of 5, the first in line 3",)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1] * 10, ("0", "1")),
        ([1.0, 2.0, 3.0] * 10, ("1.0", "2.0", "3.0")),
        ([3, 4, 5, 6, 7, 8] * 5, ("3", "4", "5", "6", "7", "8")),
        ([1, "1.0", 2] * 5, ("1", "2")),
        (["", 1, 0] * 7, ("0", "1")),
        ([0.5, 1, 1.5] * 10, ()),
        (list(range(30)), ()),
        ([1, 2, 3, 4], ()),
        ([100_000 + 1000 * i for i in range(60)], ()),
    ],
)
def test_few_whole_numbers_are_classes(csv, values, labels):
    table = read_csv(csv(rows_of("x,y", [i % 13 for i in range(len(values))], values)), "y")
    assert table.label_names == labels


def test_files_of_spreadsheets_and_other_programs(csv):
    text = "sepal;breite;art\r\n5,1;3,5;weiß\r\n4,9;3,0;rot\r\n;;\r\n;;\r\n"
    wanted = ["rot", "weiß"]
    for data in (text.encode("cp1252"), text.encode("utf-16"), text.encode("utf-8-sig")):
        for file in (data, gzip.compress(data)):
            table = read_csv(csv(file), "art")
            assert table.columns["sepal"].values.tolist() == [5.1, 4.9]
            assert list(table.label_names) == wanted
    (note,) = read_csv(csv(text.encode("cp1252")), "art").notes
    assert note.startswith("read as Windows-1252 (cp1252), not UTF-8: if letters are wrong, save")


def test_a_column_that_is_not_found_for_its_encoding(csv, tmp_path):
    data = "wiek,odejście\n1,tak\n2,nie\n".encode("cp1250")
    hint = "save the file as CSV UTF-8"
    with pytest.raises(DataError, match=rf"no column 'odejście'.*Windows-1252 .*{hint}"):
        read_csv(csv(data), "odejście")
    other = tmp_path / "test.csv"
    other.write_bytes(data)
    with pytest.raises(
        DataError, match=rf"test.csv has no column 'odejście'.*Windows-1252.*{hint}"
    ):
        read_csv(csv(data.decode("cp1250")), "odejście", test=other)


@pytest.mark.parametrize(
    "spelling", [("yes", "no"), ("TRUE", "FALSE"), ("1", "0"), ("vrai", "faux")]
)
@pytest.mark.parametrize("trained", [("True", "False"), ("1", "0"), ("ja", "nein")])
def test_booleans_of_another_file_are_those_of_the_training_file(csv, tmp_path, trained, spelling):
    def rows(true, false):
        return rows_of(
            "member,code,y", [true, false] * 8, range(16), [false, false, true, true] * 4
        )

    other = tmp_path / "other.csv"
    other.write_text(rows(*spelling))
    table = read_csv(csv(rows(*trained)), "y", "classification", validation=other, test=other)
    assert set(table.label_names) == set(trained)
    places = np.arange(48)
    encoded = TableExamples(table, fit_columns(table, places[:16])).tensors(places)
    np.testing.assert_array_equal(encoded[:16], encoded[16:32])
    np.testing.assert_array_equal(encoded[:16], encoded[32:])
    np.testing.assert_array_equal(table.targets[:16], table.targets[32:])


def test_the_decimal_sign_of_another_file_is_its_own(csv, tmp_path):
    (tmp_path / "test.csv").write_text("x,zip,y\n" + "1000.5,1.2,2.25\n3,1.3,4.5\n" * 4)
    text = "x;zip;y\n" + "1.000,5;1.2;2,25\n3;1.3;4,5\n" * 4
    for types in ({}, {"zip": "category"}):
        table = read_csv(csv(text), "y", "regression", types=types, test=tmp_path / "test.csv")
        for values in (table.targets, *(column.values for column in table.columns.values())):
            np.testing.assert_array_equal(values[:8], values[8:])


def test_a_row_in_place_of_the_names_is_noted(csv):
    rows = "5.1,3,setosa\n4.9,3,setosa\n7.0,4,virginica\n6.9,4,virginica\n"
    (note,) = read_csv(csv(rows), "setosa").notes
    assert "must have the names of the columns, but has '5.1'" in note
    assert read_csv(csv("2019,2020,y\n" + rows), "y").notes == ()


def test_columns_of_the_same_name_are_noted(csv):
    table = read_csv(csv("x,x,y\n1,5,a\n2,6,b\n3,5,a\n"), "y")
    assert list(table.columns) == ["x", "x.1"]
    assert any("the same name in the header" in n and "'x.1'" in n for n in table.notes)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["no" if i % 3 else "yes" for i in range(60)], 60),
        (["" if i % 3 else f"2024-01-{1 + i // 3}" for i in range(60)], 60),
        (["" if i % 3 or i == 0 else f"2024-01-{1 + i // 3}" for i in range(60)], 59),
        ([0 if i % 3 else i + 0.5 for i in range(60)], 60),
        ([i % 3 + i // 3 / 100 for i in range(60)], 0),  # one value for each row
        (["" if i % 3 or i % 4 == 0 else "2024-01-01" for i in range(60)], 0),
    ],
)
def test_a_column_that_reveals_the_target_is_named(csv, values, told):
    targets = [i % 3 == 0 for i in range(60)]
    text = rows_of("age,end,sex,survived", range(20, 80), values, ["m", "f"] * 30, targets)
    table = read_csv(csv(text), "survived")
    assert [*table.columns] == ["age", "end", "sex"]
    assert [note for note in table.notes if "alone" in note] == [
        f"column 'end' alone predicts 'survived' in {told} of 60 rows: if it is not known when "
        "you predict, leave it out with --ignore end"
    ] * bool(told)


def test_the_error_for_a_target_beyond_32_bits_names_what_to_subtract(tmp_path):
    path = tmp_path / "times.csv"
    path.write_text("x,y\n" + "".join(f"{n},{1_700_000_000 + n % 60}.5\n" for n in range(100)))
    with pytest.raises(
        DataError, match=r"'y' is about 17000000\d\d.* steps of 128 there; subtract"
    ):
        read_csv(path, "y")


def test_a_column_that_counts_the_rows_is_named(csv):
    text = rows_of("t,x,y", range(30), [i % 7 for i in range(30)], ["a", "b"] * 15)
    (note,) = read_csv(csv(text), "y").notes
    assert note == "column 't' numbers the rows: if it means nothing else, leave it out with --ignore t"  # fmt: skip
    assert read_csv(csv(text), "y", ignore=["x"]).notes == ()


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        *((name, True) for name in ("Id", "customerID", "user_id", "id_student", "Row Number")),
        *((name, False) for name in ("paid", "width", "period", "grid", "NOx")),
    ],
)
def test_an_id_is_known_by_its_name(csv, name, is_id):
    text = rows_of(f"{name},x,y", range(7, 67, 2), [i % 7 for i in range(30)], ["a", "b"] * 15)
    assert (name not in read_csv(csv(text), "y").columns) == is_id


def test_spellings_of_a_label_or_category_are_one_in_training_and_serving(csv):
    rows = "red,spam\nred.,Spam\nBlue,ham\nlight blue,ham\nlight  Blue,SPAM\nred,spam\n" * 4
    table = read_csv(csv("color,kind\n" + rows), "kind")
    assert table.label_names == ("ham", "spam")
    assert table.notes == (
        "target 'kind': spellings of one value: 'SPAM' = 'Spam' = 'spam'",
        "column 'color': spellings of one value: 'light blue' = 'light  Blue', 'red.' = 'red'",
    )
    columns = fit_columns(table, np.arange(24))
    examples = TableExamples(table, columns)
    for place in range(6):
        served = encode_row(examples.raw(place), columns, "row")
        np.testing.assert_array_equal(served, examples.tensors(np.array([place]))[0])
    np.testing.assert_array_equal(
        *(encode_row({"color": text}, columns, "row") for text in ("red", "RED"))
    )


def test_numbers_with_several_units_and_other_texts(csv):
    sizes = [f"{i}.5M" if i % 9 else f"{i + 7}k" for i in range(40)] + ["Varies"] * 20
    areas = [f"{i} by {i + 3}" if i % 9 == 0 else str(i) for i in range(60)]
    fuels = [f"{i} kmpl" if i % 9 else f"{i} km/kg" for i in range(60)]
    prices = [f"${i}K" for i in range(59)] + ["$1M"]
    table = read_csv(csv(rows_of("size,area,fuel,price", sizes, areas, fuels, prices)), "price")
    assert table.targets[[1, -1]].tolist() == [1e3, 1e6]
    assert [note.partition("; to")[0] for note in table.notes[:4]] == [
        "column 'price' has several units: '$10K' is 10000",
        "column 'size' has several units: '10.5M' is 10500000",
        "column 'size': 'Varies' counts as missing",
        "column 'area' is left out: 7 of its 60 values are no numbers, such as '0 by 3': "
        "write those as numbers, or leave them empty",
    ]
    assert "the units 'km/kg', 'kmpl', use one of them; to keep it, give" in table.notes[4]
    areas = [f"{i} by {i + 3}" if i % 20 == 0 else str(i) for i in range(600)]
    text = rows_of("area,y", areas, range(600))
    column = read_csv(csv(text), "y", types={"area": "number"}).columns["area"]
    assert (column.type, column.missing) == ("number", 30)
    size = fit_columns(table, np.arange(60))[0]
    assert np.isnan(size.parse("varies", "row.size", None))
    with pytest.raises(InvalidInputError, match="expected a number or amount, got the text 'big'"):
        size.parse("big", "row.size", None)


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["yes", "No", "YES", "no", "no", "yes"], ("no", "yes")),
        (["True", "0", "1", "False", "False", "True"], ("False", "True")),
        (["a", "A", "AB", "Ab", "a", "A"], ("A", "AB", "Ab", "a")),
        (["f", "y", "n", "f", "y", "n"], ("f", "n", "y")),
        (["yes", "Y", "no", "maybe", "N", "no"], ("N", "Y", "maybe", "no", "yes")),
    ],
)
def test_booleans_and_words_are_one_label_but_codes_are_not(csv, labels, wanted):
    text = rows_of("x,y", range(12), labels * 2)
    assert read_csv(csv(text), "y", "classification").label_names == wanted


def test_joined_files_repeat_header_and_byte_order_mark(csv):
    part = "\ufeffa,a,,y\n1,2,red,u\n3,4,blue,v\n"
    table = read_csv(csv(part * 3), "y")
    assert (table.label_names, len(table.targets)) == (("u", "v"), 6)
    assert table.columns["a"].values.tolist() == [1, 3] * 3
    assert (
        "pets.csv: lines that repeat the header are left out: 2, the first is line 4" in table.notes
    )


@pytest.mark.parametrize("nothing", ["00.00.0000", "0000-00-00", "NaT", "#NV", "#REF!", "#VALEUR!"])
def test_zero_dates_and_errors_of_excel_are_missing_values(csv, nothing):
    rows = f"31.12.2024,red,x\n{nothing},{nothing},y\n15.01.2025,blue,x\n" * 8
    columns = read_csv(csv("day,color,kind\n" + rows), "kind").columns
    assert (columns["day"].type, columns["day"].missing) == ("date", 8)
    assert (columns["color"].different, columns["color"].missing) == (2, 8)


def test_a_parquet_file_is_read_as_the_same_table_in_csv(csv, tmp_path):
    frame = pd.DataFrame(
        {
            "size": [1.5, None, 1e-7, -3.25] * 6,
            "color": pd.Categorical(["red", "light, blue", None, 'a "b"'] * 6),
            "day": [datetime(2024, 1, 2), datetime(2024, 3, 4, 12), None, datetime(2024, 5, 6)] * 6,
            "ok": [True, False, None, True] * 6,
            "kind": ["cat", "dog", "dog", "cat"] * 6,
        }
    )
    path = tmp_path / "pets.parquet"
    frame.assign(tags=[[1]] * 24).to_parquet(path, index=False)
    table = read_csv(path, "kind")
    wanted = read_csv(csv(frame.to_csv(index=False)), "kind")
    columns, same = (fit_columns(each, np.arange(24)) for each in (table, wanted))
    assert [column.name for column in columns] == ["size", "color", "day", "ok"]
    for place in range(4):
        row = TableExamples(table, columns).raw(place)
        np.testing.assert_array_equal(
            encode_row(row, columns, "row"),
            TableExamples(wanted, same).tensors(np.array([place]))[0],
        )
    assert config_for("mlp", data=f"csv:{path}").patience == 0  # as of small tables
    assert table.notes[0] == "columns of lists or records are left out: 'tags'"
    path.write_bytes(b"PAR1 cut off")
    with pytest.raises(DataError, match=r"pets.parquet cannot be read"):
        read_csv(path, "kind")
