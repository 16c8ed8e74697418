"""How long a caller waits."""

import time
from dataclasses import dataclass

from serving.api.status import Code, StatusError


class DeadlineExceededError(StatusError):
    """Nobody waits for the answer any more."""

    def __init__(self) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, "the deadline passed before the model was run")


@dataclass(frozen=True)
class Deadline:
    """A moment after which nobody waits for an answer any more.

    Attributes:
        moment: on the clock of time.monotonic(), in seconds; infinity for none.
    """

    moment: float = float("inf")

    @classmethod
    def after(cls, seconds: float | None) -> "Deadline":
        """The moment so many seconds from now; None for no deadline."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    def remaining(self) -> float | None:
        """Seconds left, at least 0; None without a deadline: what waiting functions take."""
        if self.moment == float("inf"):
            return None
        return max(0.0, self.moment - time.monotonic())

    def check(self) -> None:
        """Go on only while somebody waits.

        Raises:
            DeadlineExceededError: nobody does.
        """
        if time.monotonic() > self.moment:
            raise DeadlineExceededError


NO_DEADLINE = Deadline()
