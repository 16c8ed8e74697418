import hashlib

import numpy as np
import pytest

from serving.tables import CategoricalColumn, NumericColumn
from training.csv_tables import fit_columns, read_csv
from training.errors import DataError

PETS = """weight,colour,legs,kind
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
    assert (table.task, table.label_names) == ("classification", ("bird", "cat", "dog"))
    assert table.targets.tolist() == [1, 1, 0, 2]
    assert table.targets.dtype == np.int64
    assert table.columns["weight"].values.tolist() == [4.5, 5.5, 0.5, 30]
    assert table.columns["colour"].values == ["black", "white", "green", "black"]
    assert table.lines == (2, 3, 4, 5)
    assert table.sha256 == hashlib.sha256(PETS.encode()).hexdigest()


def test_a_target_of_numbers_is_a_regression(csv):
    table = read_csv(csv(), "weight")
    assert (table.task, table.label_names) == ("regression", ())
    assert table.targets.dtype == np.float32
    assert table.targets.tolist() == [4.5, 5.5, 0.5, 30]


def test_or_a_classification_where_one_says_so(csv):
    table = read_csv(csv("x,y\n1,10\n2,9\n3,10\n"), "y", "classification")
    assert (table.task, table.label_names) == ("classification", ("9", "10"))
    assert table.targets.tolist() == [1, 0, 1]


def test_columns_can_be_ignored(csv):
    assert [*read_csv(csv(), "kind", ignore=["legs", "colour"]).columns] == ["weight"]


def test_columns_are_fitted_on_the_rows_to_train_on(csv):
    table = read_csv(csv(), "kind")
    weight, colour, legs = fit_columns(table, np.array([0, 1]))
    assert weight == NumericColumn(name="weight", mean=5.0, scale=0.5, fill=5.0)
    assert colour == CategoricalColumn(name="colour", categories=("black", "white"), fill="black")
    assert legs == NumericColumn(name="legs", mean=4.0, scale=1.0, fill=4.0)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (PETS, None, r"--target\), one of 'weight', 'colour', 'legs', 'kind'"),
        (PETS, "king", r"no column 'king'.*did you mean 'kind'\?"),
        (PETS.replace("5.5", "inf"), "kind", "column 'weight' has 'inf' in line 3"),
        (PETS.replace("5.5", "1e300"), "weight", "column 'weight' has '1e300'"),
        ("a,b\n1,x\n2,x\n", "b", "'b' has the same value"),
        ("a\n1\n2\n", "a", "no column to learn from besides the target"),
        ("id,y\n" + "".join(f"id{i},{i % 2}\n" for i in range(30)), "y", "column 'id' is left out: .* 30 different"),
        ("x,y\n" + "".join(f"{i},t{i}\n" for i in range(30)), "y", "'y' has 30 different .* too many for classes"),
        ("a,b\n", "a", "expected rows below the header"),
        ("", "a", "expected a header row"),
        ("a,b\n1\n", "a", "got 1 in line 2"),
        ("ä,b\n".encode() + b"\xff,2\n", "b", "UTF-8"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_told_by_column_and_line(csv, text, target, message):
    with pytest.raises(DataError, match=message):
        read_csv(csv(text), target)


def test_a_regression_of_texts_is_refused(csv):
    with pytest.raises(DataError, match="column 'kind' has 'cat' in line 2; a regression"):
        read_csv(csv(), "kind", "regression")
    with pytest.raises(DataError, match="'y' has 'many' in line 3; a regression"):
        read_csv(csv("x,y\n1,2\n2,many\n3,4\n"), "y", "regression")


def test_an_ignored_column_must_be_there(csv):
    with pytest.raises(DataError, match=r"no column 'leg'.*'legs'"):
        read_csv(csv(), "kind", ignore=["leg"])


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(DataError, match=f"{path} cannot be read"):
            read_csv(path, "y")
