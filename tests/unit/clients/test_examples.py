import numpy as np
import pytest

from clients.examples import read_examples
from serving.errors import InvalidInputError
from serving.tables import TextRow


def test_rows_are_plain_whatever_numpy_made_of_them():
    (row,) = read_examples({"a": np.float32(1.5), "b": np.str_("x"), "c": np.int64(2)})
    assert row == {"a": 1.5, "b": "x", "c": 2}
    assert [type(value) for value in row.values()] == [float, str, int]


def test_a_csv_file_is_as_many_examples_as_rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,x\n2,y\n")
    rows = read_examples([path, str(path)])
    assert rows == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}] * 2
    assert all(isinstance(row, TextRow) for row in rows)


def test_a_bad_csv_file_is_named(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1\n")
    with pytest.raises(InvalidInputError, match=r"inputs\[0\] \(rows.csv\): .*line 2"):
        read_examples(path)


@pytest.mark.parametrize("wrong", [[5], [b"x", None]])
def test_other_types_are_refused(wrong):
    with pytest.raises(
        InvalidInputError, match="expected a path, bytes, a PIL image, a NumPy array or a dict"
    ):
        read_examples(wrong)
