"""A request while it waits for its batch, and its caller while it waits for the request."""

import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import Deadline, DeadlineExceededError

Arrays = Mapping[str, NDArray[Any]]


@dataclass(eq=False, slots=True)
class Task:
    """A request, or a part of a large one.

    Attributes:
        feeds: its inputs, of `rows` rows each.
        fetches: names of the outputs wanted.
        rows: how many.
        key: equal for tasks that may share a batch.
        deadline: what has not begun by then is not begun.
        enqueued: when, on the clock of time.monotonic(), in seconds.
    """

    feeds: Arrays
    fetches: Sequence[str]
    rows: int
    key: Hashable
    deadline: Deadline
    enqueued: float = field(default_factory=time.monotonic)
    _claim: threading.Lock = field(default_factory=threading.Lock)
    _answered: threading.Event = field(default_factory=threading.Event)
    _outputs: dict[str, NDArray[Any]] = field(default_factory=dict)
    _error: Exception | None = None

    def split(self, sizes: Sequence[int]) -> "list[Task]":
        """Its parts, of so many rows each; together all of its rows."""
        if len(sizes) == 1:
            return [self]
        stops = np.cumsum(sizes).tolist()
        return [
            Task(
                {name: array[stop - rows : stop] for name, array in self.feeds.items()},
                *(self.fetches, rows, self.key, self.deadline, self.enqueued),
            )
            for rows, stop in zip(sizes, stops, strict=True)
        ]

    def claim(self) -> bool:
        """Whether this is the first claim: of the thread that runs it, or of its caller who left.

        The caller of a task that runs stays to its end, because it keeps the engine loaded.
        """
        return self._claim.acquire(blocking=False)

    def answer(self, outputs: dict[str, NDArray[Any]]) -> None:
        """It is done."""
        self._outputs = outputs
        self._answered.set()

    def fail(self, error: Exception) -> None:
        """It cannot be done."""
        self._error = error
        self._answered.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is answered within so many seconds."""
        return self._answered.wait(seconds)

    def take_error(self) -> Exception | None:
        """Why it failed, if it did.

        Given once: an error holds the frames that it went through, and they this task, so that its
        arrays would stay until a garbage collection if it held the error too.
        """
        error, self._error = self._error, None
        return error

    @property
    def outputs(self) -> dict[str, NDArray[Any]]:
        """What it was answered."""
        return self._outputs


def outputs_of(parts: Sequence[Task], deadline: Deadline) -> dict[str, NDArray[Any]]:
    """Wait for a request and put its parts together.

    Raises:
        DeadlineExceededError: the deadline passed before all of it had begun.
        Exception: what running a part raised.
    """
    in_time = all(part.wait(deadline.remaining()) for part in parts)
    # As without batching, what has begun is waited for.
    left = [] if in_time else [part for part in parts if part.claim()]
    for part in parts:
        if part not in left:
            part.wait()
    errors = list(filter(None, [part.take_error() for part in parts]))
    if left:
        raise DeadlineExceededError
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # see take_error()
    if len(parts) == 1:
        return parts[0].outputs
    return {
        name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].fetches
    }
