"""One batch to its outcomes: tries again what is worth it, and finds whose fault a failure is."""

import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rockstar_client.bulk.item import Answered, Failed, Item, Outcome
from rockstar_client.bulk.pace import Pace
from rockstar_client.errors import (
    CallError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ServerError,
    UnavailableError,
)
from rockstar_client.examples import Example
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

# A service: examples of one kind to as many outcomes. Called by several threads; raises a CallError
# where it fails as a whole.
Ask = Callable[[Sequence[Example]], Answered]

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
# Times the patience: so long it may take to find which item of a batch a server fails on, or is too
# slow for. Each question may last until its timeout.
_TROUBLE = 3

# Wrong for each batch in the same way: no item is to blame.
_OF_THE_RUN = (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED)

# How a gateway, and we over gRPC, call the place of an example in a request.
_PLACE = re.compile(r"^(instances\[\d+\](\.b64)?|body row \d+|item)(\.|\b)")


class Stopped(Exception):  # noqa: N818
    """The run is being stopped: nothing is tried again."""


@dataclass
class _Judged:
    """What was learnt about a batch on the way.

    Attributes:
        troubles: errors of single examples that the server failed on.
        started: when (monotonic).
        halved: whether it was ever refused as a whole.
        largest: the most examples that were answered together.
    """

    troubles: list[CallError] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    halved: bool = False
    largest: int = 0


class Asker:
    """Asks a service about batches; thread-safe."""

    def __init__(
        self,
        ask: Ask,
        *,
        patience: float = Pace.patience,
        too_many: Callable[[int], None] = lambda _fewer: None,
    ) -> None:
        """Hold the service.

        Args:
            ask: the service.
            patience: seconds for which a service that is away or too busy is asked again.
            too_many: told a number of examples that is right where a batch of more was refused, or
                not answered in time, and its parts were not.
        """
        self._ask = ask
        self._patience = patience
        self._too_many = too_many
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Give up waiting, in all threads."""
        self._stopping.set()

    def __call__(self, batch: Sequence[Item]) -> list[tuple[int, Outcome]]:
        """The version that answered and the outcome of each item; the version is 0 of one failed.

        Raises:
            CallError: the service cannot be used, or fails on all of the batch.
            Stopped: `stop` was called.
        """
        found: list[tuple[int, Outcome]] = [(0, Failed(""))] * len(batch)
        examples: list[Example] = []
        places: list[int] = []
        for place, item in enumerate(batch):
            try:
                examples.append(item.read())
            except InvalidInputError as error:
                found[place] = (0, Failed(_reason(error)))
            else:
                places.append(place)
        for place, outcome in zip(places, self._judged(examples), strict=True):
            found[place] = outcome
        return found

    def _judged(self, examples: list[Example]) -> list[tuple[int, Outcome]]:
        if not examples:
            return []
        judged = _Judged()
        outcomes = self._answer(examples, judged)
        if len(judged.troubles) == len(examples):
            # The server is in trouble, not the items.
            raise judged.troubles[0]
        if judged.halved and not any(isinstance(outcome, Failed) for _, outcome in outcomes):
            self._too_many(judged.largest)
        return outcomes

    def _answer(self, examples: list[Example], judged: "_Judged") -> list[tuple[int, Outcome]]:
        """The outcomes of one or more; a batch that fails is halved until an item is to blame."""
        try:
            version, outcomes = self._patiently(examples)
            judged.largest = max(judged.largest, len(examples))
            return [(0 if isinstance(each, Failed) else version, each) for each in outcomes]
        except InvalidInputError as error:
            wrong: Exception = error
        except InvalidRequestError as error:
            if error.code in _OF_THE_RUN:
                raise
            wrong = error
        except (ServerError, DeadlineExceededError) as error:
            if time.monotonic() - judged.started > _TROUBLE * self._patience:
                raise
            wrong = error
            if len(examples) == 1:
                judged.troubles.append(error)
        if len(examples) == 1:
            return [(0, Failed(_reason(wrong)))]
        judged.halved = True
        half = len(examples) // 2
        return self._answer(examples[:half], judged) + self._answer(examples[half:], judged)

    def _patiently(self, examples: list[Example]) -> Answered:
        started, pause = time.monotonic(), _FIRST_PAUSE_S
        while True:
            if self._stopping.is_set():
                raise Stopped
            try:
                return self._ask(examples)
            except (OverloadedError, UnavailableError) as error:
                pause = max(pause, error.retry_after or 0)
                if time.monotonic() - started + pause > self._patience:
                    raise
            # At random, so that batches that failed together do not come again together.
            self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def reason_of(field: str, expected: str, got: str, hint: str = "") -> str:
    """What is wrong with an item, without its name, which stands beside it.

    Args:
        field: where in the request; of it only the column of a row is said.
        expected: what would be right.
        got: what came.
        hint: how to mend it, or an empty string.
    """
    column = _PLACE.sub("", field) if _PLACE.match(field) else ""
    place = f"{column}: " if column else ""
    return f"{place}expected {expected}, got {got}" + (f"; {hint}" if hint else "")


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidInputError):
        return reason_of(error.field, error.expected, error.got, error.hint)
    if isinstance(error, InvalidRequestError) and error.expected:
        return reason_of(error.field, error.expected, error.got, error.hint)
    return _PLACE.sub("", str(error)).removeprefix(": ")
