"""Items of a bulk prediction and their outcomes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rockstar_client.examples import Example
from rockstar_contract.contract import Prediction, Value
from rockstar_contract.errors import InvalidInputError


class Item(NamedTuple):
    """One thing to predict."""

    name: str  # for users: a path, ARCHIVE:MEMBER or FILE.csv:ROW
    stamp: str  # changes with the content: made of sizes, times and checksums
    size: int  # of the content in bytes
    columns: tuple[str, ...]  # of a row of a table; empty for a file
    read: Callable[[], Example]  # in any thread; an InvalidInputError if it is unreadable


class Failed(NamedTuple):
    """The outcome of an item without a prediction: the reason, without the item's name."""

    reason: str


Outcome = Prediction | Value | Failed


class Result(NamedTuple):
    """An item, the model version that predicted it (0 if it failed), and its outcome."""

    item: Item
    version: int
    outcome: Outcome


class BatchResult(NamedTuple):
    """The outcomes of a batch in its order, and the model version that predicted them."""

    version: int
    outcomes: list[Outcome]


def cells(version: int, outcome: Prediction | Value) -> dict[str, Any]:
    """A prediction as cells of a row: value and version; or label, score, label_2, …, version.

    Without a label if the score is below the threshold: the first guess is no prediction.
    """
    if isinstance(outcome, Value):
        return {"value": outcome.value, "version": version}
    row: dict[str, Any] = {"label": outcome.label, "score": outcome.score}
    for number, score in enumerate(outcome.top[1:], start=2):
        row |= {f"label_{number}": score.label, f"score_{number}": score.score}
    return row | {"version": version}


def failing_item(name: str, error: InvalidInputError) -> Item:
    """An item that is known to be bad; reading it raises the error."""
    return Item(name, "failed", 0, (), partial(_fail, error))


def _fail(error: InvalidInputError) -> Example:
    raise error


def wrong_item(name: str, expected: str, got: str) -> Item:
    """An item that is known to be bad, by what was expected and received instead."""
    return failing_item(name, InvalidInputError(name, expected=expected, got=got))
