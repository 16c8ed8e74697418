"""Standard input, named `-`: one image, or the rows of a CSV file."""

import hashlib
import io
import sys
from collections.abc import Iterable

from rockstar_client.bulk.item import Item
from rockstar_client.bulk.sources.files import failing_item, too_large
from rockstar_client.bulk.sources.tables import rows_of
from rockstar_contract.errors import InvalidInputError

STDIN = "-"


def stdin_items(tables: bool, most_bytes: int) -> Iterable[Item]:
    """The image on standard input, or its rows, named -:ROW from 1.

    Args:
        tables: whether it is a CSV file.
        most_bytes: a larger image is an item that fails.
    """
    # None where the process was started without.
    file = sys.stdin.buffer if sys.stdin else io.BytesIO()
    content = file.read() if tables else file.read(most_bytes + 1)
    stamp = hashlib.sha256(content).hexdigest()
    if not content:
        wrong = InvalidInputError(STDIN, expected="a file on standard input", got="nothing")
        return (failing_item(STDIN, wrong),)
    if tables:
        return rows_of(STDIN, io.BytesIO(content), stamp)
    if len(content) > most_bytes:
        return (failing_item(STDIN, too_large(STDIN, len(content), most_bytes)),)
    return (Item(STDIN, stamp, len(content), (), lambda: content),)
