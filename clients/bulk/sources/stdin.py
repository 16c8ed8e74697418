"""Standard input, named `-`: one image, or the rows of a CSV file."""

import functools
import hashlib
import sys
from collections.abc import Iterator

from clients.bulk.item import Item
from clients.bulk.sources.files import failing_item, too_large
from serving.csv_rows import read_table
from serving.errors import InvalidInputError
from serving.tables import TextRow

STDIN = "-"


def stdin_items(tables: bool, most_bytes: int) -> Iterator[Item]:
    """The image of standard input, or its rows, named -:ROW from 1.

    Args:
        tables: whether it holds rows; a header comes first.
        most_bytes: more is an item that fails.
    """
    # None where the process was started without.
    content = sys.stdin.buffer.read(most_bytes + 1) if sys.stdin else b""
    stamp = hashlib.sha256(content).hexdigest()
    try:
        if not content:
            raise InvalidInputError(STDIN, expected="a file on standard input", got="nothing")
        if len(content) > most_bytes:
            raise too_large(STDIN, len(content), most_bytes)
        if not tables:
            yield Item(STDIN, stamp, len(content), (), lambda: content)
            return
        names, rows, _ = read_table(content, STDIN)
    except InvalidInputError as error:
        yield failing_item(STDIN, error)
        return
    for number, values in enumerate(rows, start=1):
        row = TextRow(zip(names, values, strict=True))
        size = sum(map(len, values)) + len(names)
        # Bound now: items are read later.
        read = functools.partial(TextRow, row)
        yield Item(f"{STDIN}:{number}", stamp, size, tuple(names), read)
