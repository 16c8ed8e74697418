"""How long a caller waits."""

import time
from collections.abc import Callable

import msgspec

from tfs_api.status import Code, StatusError

_YEAR = 365 * 24 * 3600.0


class DeadlineExceededError(StatusError):
    """Nobody waits for the answer any more: it took too long."""

    def __init__(self) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, "the deadline passed before the model was run")


class CallerGoneError(StatusError):
    """Nobody waits for the answer any more: the caller cancelled, or its connection broke."""

    def __init__(self) -> None:
        super().__init__(Code.CANCELLED, "the caller went away before the model was run")


def _never() -> bool:
    return False


class Deadline(msgspec.Struct, frozen=True):
    """A moment after which nobody waits for an answer any more.

    Attributes:
        moment: on the clock of time.monotonic(), in seconds; infinity for none.
        gone: whether the caller went away even before.
    """

    moment: float = float("inf")
    gone: Callable[[], bool] = _never

    @classmethod
    def after(cls, seconds: float | None, gone: Callable[[], bool] = _never) -> "Deadline":
        """The moment so many seconds from now; None, or more than a year, for no deadline.

        gRPC says some centuries where the caller set none, more than waiting functions take.
        """
        if seconds is None or seconds > _YEAR:
            return cls(gone=gone)
        return cls(time.monotonic() + seconds, gone)

    def remaining(self) -> float | None:
        """Seconds left, at least 0; None without a deadline: what waiting functions take."""
        if self.moment == float("inf"):
            return None
        return max(0.0, self.moment - time.monotonic())

    def check(self) -> None:
        """Go on only while somebody waits.

        Raises:
            DeadlineExceededError: nobody does, the moment has passed.
            CallerGoneError: nobody does, the caller went away.
        """
        if time.monotonic() >= self.moment:
            raise DeadlineExceededError
        if self.gone():
            raise CallerGoneError


NO_DEADLINE = Deadline()
