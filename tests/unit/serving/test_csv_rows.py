import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.csv_rows import read_rows, read_table, write_rows
from serving.errors import InvalidInputError
from serving.tables import TextRow

# Anything that has a place in a CSV file, commas, quotes and line ends too.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def test_rows_by_column_name():
    names, rows, lines = read_table(b'a,"b"\n1,"x, y"\n\n2,"two\nlines"\n', "file")
    assert (names, rows, lines) == (["a", "b"], [["1", "x, y"], ["2", "two\nlines"]], [2, 5])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_usual_kinds_of_files(delimiter, end, mark):
    text = mark + end.join([f"ä{delimiter}b", f"1{delimiter}2", ""])
    assert read_rows(text.encode(), "file") == [{"ä": "1", "b": "2"}]


@given(st.lists(st.fixed_dictionaries({"a": TEXT, "b,c": TEXT}), min_size=1, max_size=4))
def test_what_is_written_reads_back(rows):
    rows = [TextRow(row) for row in rows]
    assert read_rows(write_rows(rows), "file") == rows


def test_no_more_rows_are_read_than_are_wanted():
    assert read_rows(b"a\n1\n\n2\n3\n", "file", most=2) == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file: expected a header row with column names, got no rows"),
        (b"a,b\n", "expected a header and one or more rows, got no rows"),
        (b"a,b\n1,2\n3\n", "expected 2 values in each row, as in the header, got 1 in line 3"),
        (b"a,b\n1,2,3\n", "got 3 in line 2"),
        (b"a,b,a\n1,2,3\n", "got 'a' more than once"),
        (b"a,,c\n1,2,3\n", "got no name for column 2"),
        (b'a,b\n1,"x\n', "line 2"),
        (b"a,b\n1,\xff\n", "got byte 0xff in line 2"),
        (b"\x89PNG\r\n\x1a\n", "expected a CSV file in UTF-8, got byte 0x89 in line 1"),
    ],
)
def test_what_is_no_table_is_refused_by_its_line(data, message):
    with pytest.raises(InvalidInputError) as caught:
        read_rows(data, "file")
    assert message in str(caught.value)
