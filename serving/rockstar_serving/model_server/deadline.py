"""Deadlines of requests, and callers that are gone."""

import time
from collections.abc import Callable

import msgspec

from tfs_api.status import Code, StatusError

_YEAR = 365 * 24 * 3600.0


class DeadlinePassedError(StatusError):
    """The deadline passed before the model was run."""

    def __init__(self) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, "the deadline passed before the model was run")


class CallerGoneError(StatusError):
    """The caller cancelled or lost its connection before the model was run."""

    def __init__(self) -> None:
        super().__init__(Code.CANCELLED, "the caller went away before the model was run")


class WouldBlockError(Exception):
    """The request would have to wait for others, and its caller does not want to."""


def _never() -> bool:
    return False


class Deadline(msgspec.Struct, frozen=True):
    """The time until which a caller waits.

    Attributes:
        moment: on the clock of time.monotonic(), in seconds; infinity: no deadline.
        gone: returns whether the caller is gone already.
        may_block: whether the request may wait for others; if not, WouldBlockError is raised.
    """

    moment: float = float("inf")
    gone: Callable[[], bool] = _never
    may_block: bool = True

    @classmethod
    def after(cls, seconds: float | None, gone: Callable[[], bool] = _never) -> "Deadline":
        """Make a deadline this many seconds from now; None or more than a year: no deadline.

        If the caller sets none, gRPC reports centuries, which are too long for waiting functions.
        """
        if seconds is None or seconds > _YEAR:
            return cls(gone=gone)
        return cls(time.monotonic() + seconds, gone)

    def remaining(self) -> float | None:
        """The seconds left, at least 0; None without a deadline, as waiting functions expect."""
        if self.moment == float("inf"):
            return None
        return max(0.0, self.moment - time.monotonic())

    def check(self) -> None:
        """Raise DeadlinePassedError or CallerGoneError if the caller no longer waits."""
        if time.monotonic() >= self.moment:
            raise DeadlinePassedError
        if self.gone():
            raise CallerGoneError


NO_DEADLINE = Deadline()
