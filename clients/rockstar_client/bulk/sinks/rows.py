"""Outcomes as lines of text: CSV or JSON, each line whole in itself."""

import csv
import io
from typing import Any, NamedTuple

import msgspec

from rockstar_client.bulk.item import Failed
from rockstar_contract.labels import Prediction, Value

_ENCODER = msgspec.json.Encoder()


class Row(NamedTuple):
    """One line of an output: an item, what became of it, and the version that answered."""

    item: str
    outcome: Prediction | Value
    version: int


class FailedRow(NamedTuple):
    """One line of the file of failed items."""

    item: str
    outcome: Failed


def text_of(name: str) -> str:
    r"""A name as UTF-8 can hold it: other bytes of a file's name become \udcNN."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def json_lines(rows: list[Row] | list[FailedRow]) -> bytes:
    """An object a line: item, label, score, top (or value), version; or item, reason."""
    return _ENCODER.encode_lines([_document(row) for row in rows])


def csv_lines(rows: list[Row] | list[FailedRow]) -> bytes:
    """A row a line, without a header; the cells of `csv_header`."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(map(_cells, rows))
    return stream.getvalue().encode()


def csv_header(row: Row | FailedRow | None) -> bytes:
    """The names of the columns of rows like this one; of a file without rows the sure ones."""
    names = _columns(row) if row is not None else ["item", "version"]
    return (",".join(names) + "\n").encode()


def _columns(row: Row | FailedRow) -> list[str]:
    outcome = row.outcome
    if isinstance(outcome, Failed):
        return ["item", "reason"]
    if isinstance(outcome, Value):
        return ["item", "value", "version"]
    more = [f"{name}_{k}" for k in range(2, len(outcome.top) + 1) for name in ("label", "score")]
    return ["item", "label", "score", *more, "version"]


def _cells(row: Row | FailedRow) -> list[Any]:
    outcome, name = row.outcome, text_of(row.item)
    if isinstance(outcome, Failed):
        return [name, outcome.reason]
    version = row[-1]
    if isinstance(outcome, Value):
        return [name, outcome.value, version]
    cells: list[Any] = [cell for score in outcome.top for cell in (score.label, score.score)]
    # Empty where the model is not sure; its first guess would pass for an answer.
    cells[0] = outcome.label
    return [name, *cells, version]


def _document(row: Row | FailedRow) -> dict[str, Any]:
    outcome, name = row.outcome, text_of(row.item)
    if isinstance(outcome, Failed):
        return {"item": name, "reason": outcome.reason}
    version = row[-1]
    if isinstance(outcome, Value):
        return {"item": name, "value": outcome.value, "version": version}
    return {
        "item": name,
        "label": outcome.label,
        "score": outcome.score,
        "top": outcome.top,
        **({"reason": outcome.reason} if outcome.reason else {}),
        "version": version,
    }
