"""CSV files with a header row, as bytes, to rows of text.

CSV has no standard, so the file itself decides: the encoding follows from a byte order mark or from
the bytes, and the delimiter is the one that splits the rows like the header.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, product
from typing import Any, TypedDict, Unpack

import msgspec

from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.table_cells import decimal_sign, parse_number
from rockstar_contract.tables import TextRow

# In order of preference if several fit: commas also occur in texts and numbers, the others rarely.
_DELIMITERS = "\t;|,\x1f\x01^~: "
# The delimiter is inferred from so many records, within so many characters.
_SAMPLE = 200
SAMPLE_SIZE = 2**18
GZIP = b"\x1f\x8b"
# Each costs time, even if it is empty. Files have one, or one for each 64 KB.
MAX_GZIP_MEMBERS = 1000
# Signatures of ZIP archives, such as .xlsx and .ods, and of old Office files, such as .xls.
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
SAVE_AS_CSV = "save the sheet as CSV (UTF-8)"
_WITH_PANDAS = (
    "save it as CSV, for example with pandas: read_{0}(FILE).to_csv('table.csv', index=False)"
)
_OTHER_FILES = (
    (rb"(?s:PK\x03\x04.{26}[^/]*\.npy)", "arrays", "save rows as CSV, images as files in folders"),
    (rb"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (rb"BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!", "a compressed file", "unpack it first"),
    (rb"PAR1", "a Parquet file", _WITH_PANDAS.format("parquet")),
    (rb"ARROW1|FEA1", "a Feather file", _WITH_PANDAS.format("feather")),
    (rb"\s*(?:\[\s*)?\{\s*\"", "JSON", _WITH_PANDAS.format("json")),
    (rb"\x89PNG|\xff\xd8\xff|GIF8[79]a", "an image", "send images uncompressed, not as CSV"),
    (rb"\x89HDF|\x93NUMPY", "arrays", "save rows as CSV, images as files in folders"),
    (rb"(?i:\s*<(?:!doctype|html|\?xml))", "an HTML or XML document", "download the file itself"),
    (rb"version https://git-lfs", "a pointer of Git LFS instead of the file", "run git lfs pull"),
    (
        rb"(?i:(?:\s*%[^\n]*+\n)*+\s*@relation)",
        "an ARFF file",
        "replace all lines down to @data by one with the names of the columns",
    ),
)
# Display names of the encodings that are assumed for files that are not in Unicode.
_ENCODINGS = {"cp1252": "Windows-1252 (cp1252)", "iso8859-1": "Latin-1 (iso8859-1)"}
# More specific marks first: UTF-32's mark begins like UTF-16's.
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
# Python's other codecs, such as idna, are not encodings of files, and some are slow.
_CHARACTER_SETS = (
    *("utf-8", "utf-16", "utf-32", "iso8859", "cp", "ascii", "mac", "koi8", "shift_jis", "euc"),
    *("gb", "big5", "hz", "tis-620", "johab", "kz1048", "ptcp154", "iso2022"),
)
_CONTROL = re.compile(rb"[\x00\x02-\x08\x0e-\x1b\x7f]")
# Excel's declaration of the delimiter.
_SEP = re.compile(r'"?sep=(.)"?(?:\r\n?|\n)', re.IGNORECASE)
_LINE_END = re.compile(rb"\r\n?|\n")
_LINE_ENDS = re.compile(r"\r\n?|\n")
# Lines of a footer, at most.
_FOOTER = 20
# Lines above the header: comments, lines of one value with delimiters behind it, and what ends with
# the last empty one of 20 lines.
_COMMENTS = re.compile(r"(?:\s*+#[^\r\n]*+(?:\r\n?|\n))+")
_TITLES = re.compile(
    r"(?:(?:[ \t]*+#[^\r\n]*+|"
    r"(?:\"[^\"\r\n]*+\"|[^\"\r\n;,\t|]*+)[;,\t|]*+)(?:\r\n?|\n))+"
)
_PREAMBLE = re.compile(r"(?:[^\r\n]*+(?>\r\n?|\n)){1,19}[\"; ,\t|]*+(?:\r\n?|\n)")
_YEAR = re.compile(r"(?:19|20)\d\d")
# A text for Excel, which would drop zeros of a number.
_FORMULA = re.compile(r'\A="([^"]*)"\Z')
# Delimiters and spaces of lines without values, and an old end-of-file mark.
_BLANK = " \t\r\n;,|\x1a"
CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
UNNAMED = "Unnamed: "
MARK = "\ufeff"


class Dialect(msgspec.Struct, frozen=True):
    """The delimiter of a file and its escape character, if any."""

    delimiter: str
    escape: str | None = None

    def reader(self, lines: Iterable[str]) -> Any:
        """A reader of the `csv` module, strict."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            escapechar=self.escape,
            skipinitialspace=True,
            strict=True,
        )


class CsvTable(msgspec.Struct, frozen=True):
    """A CSV file.

    Attributes:
        names: of the columns, all different. A column without a name is called "Unnamed: 0" by its
            place, and the second "a" is "a.1".
        rows: texts, all as long as `names`.
        lines: of the file, where each row ends.
        decimal: the decimal sign of its numbers, "." or ","; None if they do not show it.
        renamed: names of columns that were numbered because the header repeats a name.
        repeated: lines that repeat the header, of joined files; they are no rows.
        above: the number of lines above the header.
        below: the number of lines below the rows, such as sources, which are no rows.
    """

    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    encoding: str
    decimal: str | None
    renamed: list[str]
    repeated: list[int]
    above: int
    below: int


class CsvReader:
    """Reads the header of a CSV file, and then one row after the other.

    Attributes:
        names, decimal, renamed: as of CsvTable; by the sample.
        repeated: as of CsvTable; of the rows read so far.
        below: as of CsvTable; when all rows are read.
    """

    def __init__(
        self,
        lines: Iterable[str],
        dialect: Dialect,
        above: int,
        field: str,
        *,
        doubt: str = "",
        sample: int | None = None,
    ) -> None:
        """Read the header and a sample of rows.

        Args:
            lines: of the file, with their ends.
            dialect: of the file.
            above: number of lines above the header.
            field: name of the file in errors.
            doubt: a hint for errors, see `encoding_hint`.
            sample: number of rows that decide about names and decimal sign; None: all.

        Raises:
            InvalidInputError: there is no header, or it is not CSV.
        """
        lines = iter(lines)
        for _ in range(above):
            next(lines, None)
        self._field, self._doubt = field, doubt
        self._records = _records(dialect.reader(lines), above, field, doubt)
        _, header = next((record for record in self._records if record[1] != []), (0, None))
        if header is None:
            raise InvalidInputError(field, expected="a header row with column names", got="no rows")
        if isinstance(header, InvalidInputError):
            raise header
        self._header = [name.strip() for name in header]
        self.repeated: list[int] = []
        self.below = 0
        self._rest = self._without_headers()
        self._first = [*islice(self._rest, sample)]
        rows = [row for _, row in self._first if not isinstance(row, InvalidInputError)]
        self.names = name_columns(self._header, rows)
        self._longer = 2 * sum(len(row) > len(self.names) for row in rows) > len(rows)
        self.decimal = find_decimal(rows, dialect)
        given = {*self._header}
        made_up = (name for name in self.names if name not in given)
        self.renamed = [name for name in made_up if not name.startswith(UNNAMED)]

    def __iter__(self) -> Iterator[tuple[int, list[str] | InvalidInputError]]:
        """Yield the line where each row ends, and its texts, as many as names, or its error."""
        for line, row in chain(self._first, self._rest):
            yield line, row if isinstance(row, InvalidInputError) else self._fit(row, line)

    def _without_headers(self) -> Iterator[tuple[int, list[str] | InvalidInputError]]:
        first = self._header[0]
        for line, row in self._without_footer():
            if (
                isinstance(row, list)
                and row[0].strip() == first  # seldom, and soon seen
                and [name.strip() for name in row] == self._header
            ):
                self.repeated.append(line)
            else:
                yield line, row

    def _without_footer(self) -> Iterator[tuple[int, list[str] | InvalidInputError]]:
        """Leave out lines of one value at the end, if they are below an empty line."""
        held: list[tuple[int, list[str] | InvalidInputError]] = []
        is_below, several = False, len(self._header) > 1
        for line, row in self._records:
            if row == [] or (several and row == [""]):
                is_below = several
            elif is_below and isinstance(row, list) and len(row) == 1 and len(held) < _FOOTER:
                held.append((line, row))
            else:
                yield from (*held, (line, row))
                held.clear()
                is_below = False
        self.below = len(held)

    def _fit(self, row: list[str], line: int) -> list[str] | InvalidInputError:
        """Check the length of a row, and drop empty values at its end that have no column."""
        width = len(self.names)
        if len(row) == width:
            return row
        if len(row) > width and not any(cell.strip() for cell in row[width:]):
            return row[:width]
        hint = "an empty value needs its delimiter too"
        if len(row) > width:
            hint = "put a value that contains the delimiter between double quotes"
            if self._longer:
                hint += "; the first line must have the names of all columns: delete lines above it"
        return InvalidInputError(
            self._field,
            expected=f"{width} values, as in the header",
            got=f"{len(row)} in line {line}",
            hint="; ".join(filter(None, (hint, self._doubt))),
        )


class CsvOptions(TypedDict, total=False):
    """Options of reading a CSV file.

    Attributes:
        most: maximum number of rows to read; None reads all.
        encoding: None detects it: by a byte order mark, else UTF-8, else Windows-1252.
        max_bytes: limit after decompression, or None.
        max_cells: limit on delimiters, before rows are read, or None.
    """

    most: int | None
    encoding: str | None
    max_bytes: int | None
    max_cells: int | None


def read_table(data: bytes, field: str, **options: Unpack[CsvOptions]) -> CsvTable:
    """Read a CSV file, optionally compressed with gzip, with the column names in the first line.

    `field` is the name of the file in errors.

    Raises:
        InvalidInputError: not text, no header, or a row of another length than the header; with the
            line number.
        TooLargeError: more than max_bytes or max_cells.
    """
    encoding, max_cells = options.get("encoding"), options.get("max_cells")
    if data.startswith(GZIP):
        data = _decompress(data, field, options.get("max_bytes"))
    text, found = _decode(data, field, encoding)
    dialect, above = find_dialect(text)
    if max_cells is not None and (cells := text.count(dialect.delimiter)) > max_cells:
        expected = f"at most {max_cells:,} values"
        raise TooLargeError(field, expected=expected, got=f"{cells:,}", hint="send fewer rows")
    lines, doubt = io.StringIO(text, newline=""), "" if encoding else encoding_hint(found)
    reader = CsvReader(lines, dialect, above, field, doubt=doubt, sample=options.get("most"))
    rows: list[list[str]] = []
    numbers: list[int] = []
    for line, row in islice(reader, options.get("most")):
        if isinstance(row, InvalidInputError):
            raise row
        rows.append(row)
        numbers.append(line)
    return CsvTable(
        reader.names,
        rows,
        numbers,
        found,
        reader.decimal,
        reader.renamed,
        reader.repeated,
        above,
        reader.below,
    )


def read_rows(data: bytes, field: str, **options: Unpack[CsvOptions]) -> list[TextRow]:
    """Read the rows of a CSV file, each by column name; see `read_table`.

    Raises:
        InvalidInputError: as in `read_table`, or there is no row besides the header.
    """
    table = read_table(data, field, **options)
    if not table.rows:
        raise InvalidInputError(field, expected="a header and one or more rows", got="no rows")
    hint = "" if options.get("encoding") else encoding_hint(table.encoding)
    return [text_row(table.names, row, table.decimal, hint) for row in table.rows]


def text_row(
    names: Sequence[str], cells: Sequence[str], decimal: str | None, hint: str = ""
) -> TextRow:
    """Make a row with the decimal sign of its file and a hint about a guessed encoding."""
    row = TextRow(zip(names, cells, strict=True))
    row.decimal = decimal
    row.hint = hint
    return row


def encoding_hint(encoding: str) -> str:
    """The hint for errors in a file whose encoding was guessed; empty for Unicode."""
    if encoding.startswith("utf"):
        return ""
    name = _ENCODINGS.get(encoding, encoding)
    return f"read as {name}, not UTF-8: if letters are wrong, save the file as CSV UTF-8"


def spreadsheet_name(data: bytes) -> str:
    """The kind of a spreadsheet file; empty for other files."""
    if data.startswith(_OLE):
        return "an Excel workbook"
    if not data.startswith(_ZIP):
        return ""
    if b"opendocument.spreadsheet" in data[:256]:
        return "an OpenDocument spreadsheet"
    # The names of the members are in the first headers and at the end.
    ends = data[: 2**12] + data[-(2**16) :]
    return "an Excel workbook" if b"xl/work" in ends else ""


def write_rows(rows: Sequence[TextRow]) -> bytes:
    """Write rows as a CSV file for `read_rows`; the header has the columns of all rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    # With quotes, no other delimiter fits.
    writer = csv.DictWriter(file, names, restval="", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def find_encoding(data: bytes, field: str) -> str:
    """Detect the encoding of a text file, else raise InvalidInputError."""
    if sheet := spreadsheet_name(data):
        raise InvalidInputError(field, expected="a CSV file", got=sheet, hint=SAVE_AS_CSV)
    for pattern, got, hint in _OTHER_FILES:
        if re.match(pattern, data[:1024].removeprefix(codecs.BOM_UTF8)):
            raise InvalidInputError(field, expected="a CSV file", got=got, hint=hint)
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    if marked is not None:
        return marked
    head = data[:1024]
    # In UTF-16 every other byte of an English header is zero.
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) / 5 and min(even, odd) == 0:
        return "utf-16-be" if even else "utf-16-le"
    try:
        data.decode()
    except UnicodeDecodeError as error:
        # Letters in UTF-8 elsewhere: it is damaged UTF-8. Control characters: it is not text.
        if not data.decode(errors="ignore").isascii() or _CONTROL.search(data):
            raise _invalid_byte(data, error.start, "utf-8", field) from error
        # Windows-1252 is Latin-1 with the euro sign and quotes, but leaves these bytes undefined.
        undefined = any(byte in data for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D))
        return "iso8859-1" if undefined else "cp1252"
    return "utf-8"


def find_dialect(text: str) -> tuple[Dialect, int]:
    """Detect the dialect of a CSV file by its beginning, and the number of lines above the header.

    A delimiter fits if it splits the header into two or more names, and the rows like the header.
    The first of _DELIMITERS that fits the most rows is chosen; a comma if none fits. Excel may
    declare it in a line above the header: "sep=;". Lines of one value, those that start with "#",
    and those with fewer values than the header above an empty line are titles and comments if names
    and then a row with a number follow. Without numbers, a comment with as many values as the rows
    is the header.
    """
    sep = _SEP.match(text)
    if sep is not None:
        return Dialect(sep[1]), 1
    sample = text[:SAMPLE_SIZE]
    if len(text) >= SAMPLE_SIZE:
        # Drop the line that was cut.
        sample = sample[: sample.rfind("\n") + 1] or sample
    sample = _drop_blank_end(sample)
    for pattern in (_PREAMBLE, _TITLES, _COMMENTS):
        found = pattern.match(sample)
        below = sample[found.end() :] if found else ""
        if found is None or not below.strip():
            continue
        dialect, above = _best_dialect(below), _LINE_ENDS.split(found[0])[:-1]
        rows = _sample_rows(dialect, below, 2)
        # Years may be names of columns.
        names = [cell for n, cell in enumerate(rows[0]) if not (n and _YEAR.fullmatch(cell))]
        numbers = [
            any(parse_number(cell.strip()) is not None for cell in row)
            for row in (names, *rows[1:])
        ]
        is_header = numbers == [False, True] and len(rows[0]) == len(rows[1])
        if pattern is _PREAMBLE:
            lines = _sample_rows(dialect, found[0], 20)
            filled = (place for line in lines for place, cell in enumerate(line, 1) if cell.strip())
            least = 1 + max(filled, default=1)
        else:
            # "name," may be the header of names and of a column without one.
            least = 1 if pattern is _COMMENTS else 2 + (dialect.delimiter in found[0])
        if is_header and len(rows[0]) >= least:
            return dialect, len(above)
        if pattern is _COMMENTS:
            for place, line in enumerate(above):
                if line.strip() and len(*_sample_rows(dialect, line, 1)) == len(rows[0]):
                    return dialect, place
            return dialect, len(above)
    return _best_dialect(sample), 0


def _best_dialect(sample: str) -> Dialect:
    best, dialect = (0.0, False), Dialect(",")
    escapes = (None, "\\") if '\\"' in sample else (None,)
    for escape, delimiter in product(escapes, filter(sample.__contains__, _DELIMITERS)):
        fit = _fit(tried := Dialect(delimiter, escape), sample)
        if fit > best:
            best, dialect = fit, tried
        if fit == (1.0, True):
            break
    return dialect


def is_table(text: str) -> bool:
    """Whether a text looks like a CSV file: a header, and rows of as many values."""
    if "\n" not in text:
        return False
    dialect, above = find_dialect(text)
    return _fit(dialect, text[:SAMPLE_SIZE].split("\n", above)[-1])[0] > 0.9


def find_decimal(rows: Sequence[Sequence[str]], dialect: Dialect) -> str | None:
    """The decimal sign of the numbers in some rows, "." or ","; None if they do not show it."""
    cells = (cell for row in rows for cell in row if "." in cell or "," in cell)
    decimal = decimal_sign(map(str.strip, cells))
    if decimal is None and dialect.delimiter == ";":
        # Programs write semicolons as delimiters because commas are in the numbers.
        commas = (cell.strip() for row in rows for cell in row if "," in cell)
        decimal = "," if any(parse_number(text) is not None for text in commas) else None
    return decimal


def name_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Name the columns, all differently, by a header and all other records or the first ones.

    If each row begins with a name of its own, as R writes them, the rows have one more column than
    the header. Empty columns at the end are dropped if they have no name.
    """
    header = [name.strip() for name in header]
    if _has_row_names(rows, len(header)):
        header = ["", *header]
    width = len(header)
    if not header[-1]:
        cells = (place for row in rows for place, cell in enumerate(row, 1) if cell.strip())
        filled = max(cells, default=1)
        while width > filled and not header[width - 1]:
            width -= 1
    names = [name or f"{UNNAMED}{place}" for place, name in enumerate(header[:width])]
    taken, copies = set(names), Counter[str]()
    for place, name in enumerate(names):
        if copies[name]:
            copy = f"{name}.{copies[name]}"
            while copy in taken:
                copies[name] += 1
                copy = f"{name}.{copies[name]}"
            taken.add(copy)
            names[place] = copy
        copies[name] += 1
    return names


def _has_row_names(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether each row begins with a name: a different text, or the number of the row."""
    if any(len(row) != width + 1 for row in rows) or not any(row[-1].strip() for row in rows):
        return False
    first = [row[0].strip() for row in rows]
    numbers = [parse_number(text) for text in first]
    if all(number is None for number in numbers):
        return len(set(first)) == len(first)
    start = numbers[0]
    return len(rows) > 1 and start in (0, 1) and numbers == [start + n for n in range(len(rows))]


def _sample_rows(dialect: Dialect, text: str, most: int) -> list[list[str]]:
    """The first records of a text, of which those that are not CSV are empty."""
    records = _records(dialect.reader(io.StringIO(text, newline="")), 0, "", "")
    filled = (row for _, row in records if row != [])
    return [row if isinstance(row, list) else [] for row in islice(filled, most)]


def _fit(dialect: Dialect, sample: str) -> tuple[float, bool]:
    """Rate a dialect: the share of records as long as the header, and whether it has no escape."""
    # Spaces are between words and colons in times, so both must fit better, except at the end.
    unquoted = dialect.delimiter in ": " and not sample.startswith('"')
    rows = _sample_rows(dialect, sample, _SAMPLE + 1)
    counts = [len(row) - (unquoted and row[-1:] == [""]) for row in rows]
    if not counts or counts[0] < 2:
        return 0.0, False
    if unquoted and not (counts[0] > 2 and len(set(counts)) == 1 < len(counts)):
        return 0.0, False
    header, widths = counts[0], Counter(counts[1:])
    if not widths:
        return 0.5, dialect.escape is None
    alike = max(widths[header], widths[header + 1], widths[header - 1] * (header > 2))
    return alike / widths.total(), dialect.escape is None


def _records(
    reader: Any, above: int, field: str, doubt: str
) -> Iterator[tuple[int, list[str] | InvalidInputError]]:
    """Yield the records, or why they are not CSV, and the line of their end; [] for empty lines."""
    end = above
    while True:
        record: list[str] | InvalidInputError
        try:
            cells: list[str] = next(reader)
            if '="' in "".join(cells):
                cells = [_FORMULA.sub(r"\1", cell) for cell in cells]
            record = cells
        except StopIteration:
            return
        except csv.Error as error:
            last = reader.line_num + above
            hint = f"a quotation mark in line {end + 1} is not closed" if last > end + 1 else ""
            record = InvalidInputError(
                field,
                expected="a CSV file",
                got=f"line {last}: {error}",
                hint="; ".join(filter(None, (hint, doubt))),
            )
        end = reader.line_num + above
        yield end, record


def _decode(data: bytes, field: str, encoding: str | None) -> tuple[str, str]:
    """The text of a file without byte order marks, and its encoding."""
    if encoding is None or data.startswith(tuple(mark for mark, _ in _MARKS)):
        encoding = find_encoding(data, field)
    try:
        encoding = codecs.lookup(encoding).name
        if not encoding.startswith(_CHARACTER_SETS):
            raise LookupError
        # Files that were joined have marks inside, too.
        text = data.decode(encoding).replace(MARK, "")
    except (LookupError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise _invalid_byte(data, error.start, encoding, field) from error
        got = repr(encoding[:40])
        raise InvalidInputError(field, expected="an encoding such as utf-8", got=got) from error
    if "\0" in text:
        line = _line(text[: text.index("\0")].encode())
        raise InvalidInputError(field, expected="a CSV file", got=f"a zero byte in line {line}")
    return _drop_blank_end(text), encoding


def _drop_blank_end(text: str) -> str:
    """Drop lines at the end that are all delimiters, as spreadsheets write them."""
    end = _LINE_ENDS.search(text, len(text.rstrip(_BLANK)))
    return text if end is None else text[: end.end()]


def plain_lines(file: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a file that is not read as a whole, as `read_table` takes them.

    They have no byte order marks, and those at the end that are all delimiters are left out.
    """
    blank: list[str] = []
    for marked in file:
        line = marked.replace(MARK, "")
        if not line.strip(_BLANK):
            blank.append(line)
            continue
        yield from blank
        blank.clear()
        yield line


def _invalid_byte(data: bytes, place: int, encoding: str, field: str) -> InvalidInputError:
    return InvalidInputError(
        field,
        expected=f"a CSV file in {encoding.upper()}",
        got=f"byte {data[place]:#x} in line {_line(data[:place])}",
        hint="save the file as CSV UTF-8",
    )


def _line(above: bytes) -> int:
    """The number of the line below some data."""
    return len(_LINE_END.findall(above)) + 1


def _decompress(data: bytes, field: str, max_bytes: int | None) -> bytes:
    if max_bytes is not None and (members := data.count(GZIP + b"\x08")) > MAX_GZIP_MEMBERS:
        expected = f"a gzip file of at most {MAX_GZIP_MEMBERS:,} members"
        raise InvalidInputError(field, expected=expected, got=f"{members:,}")
    try:
        with gzip.open(io.BytesIO(data)) as file:
            unpacked = file.read(-1 if max_bytes is None else max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        got = f"a damaged one ({len(data)} bytes)"
        raise InvalidInputError(field, expected="a whole gzip file", got=got) from error
    if max_bytes is not None and len(unpacked) > max_bytes:
        expected = f"at most {max_bytes} bytes unpacked"
        raise TooLargeError(field, expected=expected, got="a larger file")
    return unpacked
