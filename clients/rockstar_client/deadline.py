"""The time that a call may take, whatever it is made of."""

import math
import time

from rockstar_client.errors import DeadlineExceededError
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

# Seconds that a call may take where the caller does not say.
DEFAULT_TIMEOUT_S = 10.0


class Deadline:
    """The moment by which an answer is worth something."""

    def __init__(self, timeout: float) -> None:
        """Start to run.

        Args:
            timeout: seconds.

        Raises:
            InvalidInputError: it is no number above 0.
        """
        if not 0 < timeout < math.inf:
            raise InvalidInputError("timeout", expected="seconds above 0", got=repr(timeout))
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds until then; negative when it has passed."""
        return self._end - time.monotonic()

    def left(self) -> float:
        """Seconds until then.

        Raises:
            DeadlineExceededError: none.
        """
        left = self.remaining()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self, what: str = "there was no answer") -> DeadlineExceededError:
        """The error that says it has passed."""
        return DeadlineExceededError(
            Code.DEADLINE_EXCEEDED,
            f"{what} within {self._timeout:g} s: give it more with timeout=, or see why it is slow",
        )
