"""What a bulk run is about: items on their way in, and what became of each."""

from collections.abc import Callable
from typing import NamedTuple

from rockstar_client.examples import Example
from rockstar_contract.labels import Prediction, Value


class Item(NamedTuple):
    """One thing to predict.

    Attributes:
        name: what users know it by: a path, ARCHIVE:MEMBER or FILE.csv:ROW.
        stamp: changes when its content does: sizes, times, checksums.
        size: of its content, in bytes.
        columns: of a row of a table; empty for a file.
        read: gives its content, in whichever thread; raises an InvalidInputError where it cannot.
    """

    name: str
    stamp: str
    size: int
    columns: tuple[str, ...]
    read: Callable[[], Example]


class Failed(NamedTuple):
    """Why an item has no prediction.

    Attributes:
        reason: in words that its owner can act on.
    """

    reason: str


Outcome = Prediction | Value | Failed


class Answered(NamedTuple):
    """What a service said of a batch, in its order, and the version that did."""

    version: int
    outcomes: list[Outcome]
