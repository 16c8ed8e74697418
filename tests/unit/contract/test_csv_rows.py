import contextlib
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockstar_contract.csv_rows import is_table, read_rows, read_table, write_rows
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.tables import TextRow
from tests.spreadsheets import NAMES

# Any text that a CSV file can contain, including commas, quotes and line ends.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def test_rows_by_column_name():
    table = read_table(b'a,"b"\n1,"x, y"\n\n2,"two\nlines"\n', "file")
    assert (table.names, table.rows) == (["a", "b"], [["1", "x, y"], ["2", "two\nlines"]])
    assert (table.lines, table.encoding) == ([2, 5], "utf-8")


@pytest.mark.parametrize("delimiter", [*",;\t|^~\x1f\x01"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_delimiters_line_ends_and_encodings(delimiter, end, encoding):
    text = end.join([f"straße{delimiter}name", f"1{delimiter}2 €", f"3{delimiter}4", ""])
    rows = [{"straße": "1", "name": "2 €"}, {"straße": "3", "name": "4"}]
    data = text.encode(encoding)
    assert read_rows(data, "file") == rows
    assert read_rows(gzip.compress(data), "file") == rows


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ('"Weight, kg";Height (cm)\n3,5;100\n', ["Weight, kg", "Height (cm)"], [["3,5", "100"]]),
        ('"Weight, kg",Height (cm)\n3.5,100\n', ["Weight, kg", "Height (cm)"], [["3.5", "100"]]),
        ('"Weight, kg"\tHeight (cm)\n3.5\t100\n', ["Weight, kg", "Height (cm)"], [["3.5", "100"]]),
        ('"a\n1,2,3";b\n3;4\n', ["a\n1,2,3", "b"], [["3", "4"]]),
        ("a\n1\n", ["a"], [["1"]]),
        ('"Size (a, b, c)";Height\n3.5;100\n', ["Size (a, b, c)", "Height"], [["3.5", "100"]]),
        ("Länge, cm;Breite, cm\n1,5;2,5\n", ["Länge, cm", "Breite, cm"], [["1,5", "2,5"]]),
        ("sep=;\na;b\n1;2\n", ["a", "b"], [["1", "2"]]),
        ("sep=;\ra;b\r1;2\r", ["a", "b"], [["1", "2"]]),
        ("a,b,\n1,2,\n3,4,\n", ["a", "b"], [["1", "2"], ["3", "4"]]),
        ("a,b\n1,2,\n3,,\n", ["a", "b"], [["1", "2"], ["3", ""]]),
        ("a;b;\n1;2\n3;4\n", ["a", "b"], [["1", "2"], ["3", "4"]]),
        (",a,b\n0,1,2\n1,3,4\n", ["Unnamed: 0", "a", "b"], [["0", "1", "2"], ["1", "3", "4"]]),
        ("a b c \n1 2 x \n3  4 y\n", ["a", "b", "c"], [["1", "2", "x"], ["3", "4", "y"]]),
        ("a b c\n1 2 x \n3 4 y \n", ["a", "b", "c"], [["1", "2", "x"], ["3", "4", "y"]]),
        ('"a" "b"\n"1" 5.1 "x y"\n"2" 4 "z"\n', ["Unnamed: 0", "a", "b"], [["1", "5.1", "x y"], ["2", "4", "z"]]),
        ("a  b   c\n1  2   3\n 4  5  6\n", ["a", "b", "c"], [["1", "2", "3"], ["4", "5", "6"]]),
        ("a,a,a.1,a\n1,2,3,4\n", ["a", "a.2", "a.1", "a.3"], [["1", "2", "3", "4"]]),
        ('a, "b, c", d\n1, "2, 3", 4\n', ["a", "b, c", "d"], [["1", "2, 3", "4"]]),
        ('a,b\n1,"say \\"hi\\", you"\n', ["a", "b"], [["1", 'say "hi", you']]),
        ("a;b\n1;2\n;\n;\n\n", ["a", "b"], [["1", "2"]]),
        ("a,b\n\n1,2\n\n\n3,4\n", ["a", "b"], [["1", "2"], ["3", "4"]]),
        ("review\nvery good\nnot at all\n", ["review"], [["very good"], ["not at all"]]),
        ("full name\nmary ann lee\njohn james doe\n", ["full name"], [["mary ann lee"], ["john james doe"]]),
        ("at,text\n12:30,a b\n13:40,c d\n", ["at", "text"], [["12:30", "a b"], ["13:40", "c d"]]),
        ("id,tags\n1,x;y\n2,y;z\n", ["id", "tags"], [["1", "x;y"], ["2", "y;z"]]),
        ("a,b\n1,2\n\x1a", ["a", "b"], [["1", "2"]]),
        ('a,b\n="01","=""2"""\n="x"y,"=""3"', ["a", "b"], [["01", "2"], ['="x"y', '="3']]),
    ],
)  # fmt: skip
def test_csv_variants(text, names, rows):
    table = read_table(text.encode(), "file")
    assert (table.names, table.rows) == (names, rows)


@pytest.mark.parametrize(
    ("text", "names", "above"),
    [
        ("# made by x\n\n# on: Monday, in Rome\na;b\n1,5;2\n", ["a", "b"], 3),
        ("# a, b and c\r\n# see d\r\na,b,c\r\nx,1,2\r\n", ["a", "b", "c"], 2),
        ("# by numpy\n# a,b\n1,2\n3,4\n", ["# a", "b"], 1),
        ("##vcf\n#CHROM\tPOS\nchr1\t12\nchr2\t13\n", ["#CHROM", "POS"], 1),
        ('"Sales, 2024";;\r\n\r\na;b;c\r\n1,5;x;\r\n', ["a", "b", "c"], 2),
        ("Rate\n# by year\nSource: BLS\na,b\n1959,Q1\n", ["a", "b"], 3),
        (
            '"Source","WDI",\n\n"Updated","2024-06-28",\n\n"Land","Code","1960",\n"A","B","5",\n'.replace(
                "\n", "\r\n"
            ),
            ["Land", "Code", "1960"],
            4,
        ),
        (
            "Bericht;2024\nErstellt;30.11.2024\n;;\nName;Wert;Klasse\nx;1,5;a\n",
            ["Name", "Wert", "Klasse"],
            3,
        ),
        ("a,b\n1,x\n\n2,y\n", ["a", "b"], 0),
        ("Land,2019\nA,1\n\nB,2\n", ["Land", "2019"], 0),
        ("Films\nname,year\nA,2001\n", ["name", "year"], 1),
        (",price\na,x\nb,5\n", ["Unnamed: 0", "price"], 0),
        ("name,\na,x\nb,5\n", ["name", "Unnamed: 1"], 0),
        ("#id,color\n#1,red\n2,blue\n", ["#id", "color"], 0),
        ("#id,color\n#1,red\n", ["#id", "color"], 0),
    ],
)
def test_titles_and_comments_above_the_header(text, names, above):
    table = read_table(text.encode(), "file")
    assert (table.names, table.above) == (names, above)
    assert is_table(text)


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("a;b\n5,1;x\n", ","),
        ("a;b\n5.1;x\n", "."),
        ("a;b\n1,234;x\n", ","),
        ('a,b\n"1,234",x\n', None),
        ('a,b\n"1,234.5",x\n', "."),
        ("a;b\n1.234.567;x\n", ","),
        ("a;b\n1;Hello, you\n", None),
    ],
)
def test_decimal_sign_of_a_file(text, decimal):
    assert read_table(text.encode(), "file").decimal == decimal
    (row,) = read_rows(text.encode(), "file")
    assert row.decimal == decimal


def test_explicit_encoding():
    data = "имя,x\nда,1\n".encode("cp1251")
    assert read_rows(data, "file", encoding="windows-1251") == [{"имя": "да", "x": "1"}]
    assert read_rows("ä,b\n1,2\n".encode("utf-16"), "file", encoding="utf-8") == [
        {"ä": "1", "b": "2"}
    ]
    for name in ("klingon", "idna", "hex", "unicode_escape", "a\0b", "ü", "punycode", "rot13"):
        with pytest.raises(InvalidInputError, match="an encoding such as utf-8, got '"):
            read_rows(data, "file", encoding=name)
    with pytest.raises(InvalidInputError, match="a CSV file in ASCII, got byte 0xe8 in line 1"):
        read_rows(data, "file", encoding="us-ascii")


@pytest.mark.parametrize(
    ("encoding", "text", "message"),
    [
        ("cp1251", "имя,x\nда\n", "got 1 in line 2; an empty value needs its delimiter too; read"),
        ("cp1250", "ż,x\nś\n", "read as Windows-1252 (cp1252), not UTF-8: if letters are wrong"),
        ("shift_jis", "ソー,x\nア\n", "read as Latin-1 (iso8859-1), not UTF-8: if letters"),
        ("gbk", "年龄,姓名\n1,张伟\n", "expected a CSV file in UTF-8, got byte 0xc4 in line 1;"),
    ],
)
def test_errors_in_a_file_that_is_not_unicode_name_the_encoding(encoding, text, message):
    with pytest.raises(InvalidInputError) as caught:
        read_table(text.encode(encoding), "file")
    assert message in str(caught.value)
    assert "save the file as CSV UTF-8" in str(caught.value)


def test_errors_do_not_doubt_an_explicit_encoding():
    with pytest.raises(InvalidInputError) as caught:
        read_rows("имя,x\nда\n".encode("cp1251"), "file", encoding="cp1251")
    assert "read as" not in str(caught.value)


def test_columns_of_the_same_name_are_numbered():
    assert read_table(b"a,a,,b\n1,2,3,4\n", "file").renamed == ["a.1"]
    assert read_table(b"a,a,a.1,a\n1,2,3,4\n", "file").renamed == ["a.2", "a.3"]
    assert read_table(b"a,b,a.1\n1,2,3\n", "file").renamed == []


def test_decompressed_size_is_limited():
    data = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    assert len(read_rows(data, "file", max_bytes=4004)) == 1000
    with pytest.raises(TooLargeError, match="at most 4003 bytes unpacked"):
        read_rows(data, "file", max_bytes=4003)
    with pytest.raises(InvalidInputError, match="a damaged one"):
        read_rows(data[:-9], "file")


def test_hostile_files_take_linear_time():
    for data in (
        b"a,b\n1,2\n" + b"\n" * 10**6 + b"x",
        b"a," * 10**5 + b"\n1,2\n",
        b"\n;" * 10**6,
        b";" * 10**5 + b"a;b\n",
    ):
        with contextlib.suppress(InvalidInputError):
            read_rows(data, "file")


@given(st.lists(st.fixed_dictionaries({"a": TEXT, "b,c": TEXT}), min_size=1, max_size=4))
def test_written_rows_round_trip(rows):
    rows = [TextRow(row) for row in rows]
    assert read_rows(write_rows(rows), "file") == rows


def test_number_of_rows_is_limited():
    assert read_rows(b"a\n1\n\n2\n3\n", "file", most=2) == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file: expected a header row with column names, got no rows"),
        (b"a,b\n", "expected a header and one or more rows, got no rows"),
        (b"a,b\n1,2\n3\n", "got 1 in line 3; an empty value needs its delimiter too"),
        (b"a,b\n1,2,3\n", "got 3 in line 2"),
        (b'a,b\n1,"x\n', "line 2"),
        ("a,b\nä,".encode() + b"\xff\n", "expected a CSV file in UTF-8, got byte 0xff in line 2"),
        (b"\x89PNG\r\n\x1a\n", "got an image; send images uncompressed, not as CSV"),
        (b"a,b\n1,\0\n", "expected a CSV file, got a zero byte in line 2"),
        (b"a,b\r1,2\r1,\0\r", "expected a CSV file, got a zero byte in line 3"),
        (b"a,b\r\n1,2\r\n1,\0\r\n", "expected a CSV file, got a zero byte in line 3"),
        (b"PK\x03\x04\x14", "got a ZIP archive; unpack it first"),
        (
            b"PAR1\x15\x04",
            "got a Parquet file; save it as CSV, for example with pandas: read_parquet(FILE)",
        ),
        (b'[{"a": 1}, {"a": 2}]', "got JSON; save it as CSV"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "got an HTML or XML document"),
        (b"% Iris\n% 1936\n\n@RELATION iris\n@ATTRIBUTE a REAL\n", "got an ARFF file"),
        *((data, f"got {kind}; save the sheet as CSV (UTF-8)") for data, kind in NAMES.values()),
    ],
)
def test_invalid_files_are_rejected_with_the_line(data, message):
    with pytest.raises(InvalidInputError) as caught:
        read_rows(data, "file")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "rows", "below"),
    [
        ('a,b\n1,2\n\n\n"Data from: WDI, 2024"\nLast Updated: 30.11.2024\n', [["1", "2"]], 2),
        ("a;b\r\n1;2\r\n \r\nSource: BLS\r\n", [["1", "2"]], 1),
        ("a,b\n1,2\n\n3,\n", [["1", "2"], ["3", ""]], 0),
        ("a\n1\n\n2\n", [["1"], ["2"]], 0),
    ],
)
def test_lines_below_the_rows(text, rows, below):
    table = read_table(text.encode(), "file")
    assert (table.rows, table.below) == (rows, below)


def test_more_values_than_the_limit_are_not_read():
    data = b"a,b\n" + b"1,2\n" * 9
    assert len(read_rows(data, "body", max_cells=10)) == 9
    with pytest.raises(TooLargeError, match="at most 9 values, got 10"):
        read_rows(data, "body", max_cells=9)
