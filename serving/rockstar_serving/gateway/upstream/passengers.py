"""Requests that share calls to the model server: who waits, who goes together, who gets what."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_client.backend import TensorResponse
from rockstar_client.errors import CallError, DeadlineExceededError
from rockstar_serving.gateway.turns import Gate
from tfs_api.status import Code

Inputs = Mapping[str, NDArray[Any]]


class Passenger:
    """A request that may share a call.

    Attributes:
        inputs: its arrays, each with the same number of rows.
        rows: how many.
        kind: names, dtypes and shapes of rows; only those of one kind go together.
        deadline: monotonic seconds.
        batch: those to make the call for, where this one is to make it.
        outcome: of the call; None while there is none.
        company: how many went in the call.
    """

    def __init__(self, inputs: Inputs, rows: int, timeout: float, gate: Gate) -> None:
        self.inputs = inputs
        self.rows = rows
        self.kind = tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items())
        self.deadline = time.monotonic() + timeout
        self.batch: Sequence[Passenger] = ()
        self.outcome: TensorResponse | CallError | None = None
        self.company = 1
        self._gate = gate

    def wait(self) -> bool:
        """Wait for `wake`; False where the deadline came first."""
        return self._gate.wait(self.deadline - time.monotonic())

    def wake(self) -> None:
        """Call it once: there is an outcome, or a batch to make the call for."""
        self._gate.wake()

    def time_left(self) -> float:
        """Seconds until the deadline.

        Raises:
            DeadlineExceededError: none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(Code.DEADLINE_EXCEEDED, "there was no answer in time")
        return left


@dataclass
class Traffic:
    """The calls of one lane: how many are on their way, and who waits for the next."""

    calls: int = 0
    waiting: list[Passenger] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Whether nobody is on their way, and nobody waits."""
        return not self.calls and not self.waiting

    def board(self, max_rows: int, *, only_full: bool = False) -> Passenger | None:
        """Let the longest waiting ones go, together with all who fit.

        Args:
            max_rows: of all together.
            only_full: only where the batch gets full.

        Returns:
            The one who makes the call, with its batch; None where nobody goes.
        """
        batch: list[Passenger] = []
        left: list[Passenger] = []
        rows = 0
        for passenger in self.waiting:
            if passenger.kind == self.waiting[0].kind and rows + passenger.rows <= max_rows:
                batch.append(passenger)
                rows += passenger.rows
            else:
                left.append(passenger)
        full = rows == max_rows or any(passenger.kind == batch[0].kind for passenger in left)
        if not batch or (only_full and not full):
            return None
        self.calls += 1
        self.waiting = left
        # The one who can wait longest, so that nobody has to outwait their own deadline.
        driver = max(batch, key=lambda passenger: passenger.deadline)
        driver.batch = batch
        return driver


def rows_of(inputs: Inputs) -> int | None:
    """The common number of rows of inputs; None where they have none in common."""
    rows = {array.shape[:1] for array in inputs.values()}
    return rows.pop()[0] if len(rows) == 1 and () not in rows else None


def joined(batch: Sequence[Passenger]) -> Inputs:
    """The inputs of all, one after the other."""
    return {
        name: np.concatenate([passenger.inputs[name] for passenger in batch])
        for name in batch[0].inputs
    }


def shares(response: TensorResponse, batch: Sequence[Passenger]) -> list[TensorResponse] | None:
    """Everyone's rows of a response; None where it does not have as many as were sent."""
    total = sum(passenger.rows for passenger in batch)
    if any(array.shape[:1] != (total,) for array in response.outputs.values()):
        return None
    found, start = [], 0
    for passenger in batch:
        rows = slice(start, start := start + passenger.rows)
        outputs = {name: array[rows] for name, array in response.outputs.items()}
        found.append(TensorResponse(outputs, response.version))
    return found
