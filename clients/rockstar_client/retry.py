"""When a call that failed is made again: one policy for HTTP and gRPC.

Predictions change nothing, so a call may be made again after a lost connection, too. Made again is
what a server that is away (UNAVAILABLE, 503) or that refuses too many requests over HTTP (429)
may answer in a moment. Not so RESOURCE_EXHAUSTED over gRPC: TensorFlow Serving says it of messages
that are too large and of memory that is not there, while its full queues are UNAVAILABLE.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rockstar_client.deadline import Deadline
from rockstar_client.errors import CallError, OverloadedError, UnavailableError
from rockstar_contract.errors import InvalidInputError

if TYPE_CHECKING:
    from tenacity import RetryCallState


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which pauses; all within the call's deadline.

    The pauses grow and are drawn at random, so that many callers do not come back at once. What
    a server asks for, as Retry-After or grpc-retry-pushback-ms, is kept to; where that is longer
    than the time left, the call fails at once and says so.

    Attributes:
        attempts: calls at most, the first included; 1 is never again. gRPC makes 5 at most.
        first: the longest first pause, in seconds.
        longest: pause, in seconds, however often it failed.
    """

    attempts: int = 4
    first: float = 0.1
    longest: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInputError("attempts", expected="1 or more", got=repr(self.attempts))
        if not 0 < self.first <= self.longest < math.inf:
            got = f"{self.first!r} and {self.longest!r}"
            raise InvalidInputError("first, longest", expected="0 < first <= longest", got=got)


DEFAULT_RETRY = RetryPolicy()
NEVER_AGAIN = RetryPolicy(attempts=1)


def retry_arguments(policy: RetryPolicy, deadline: Deadline) -> dict[str, Any]:
    """The policy as arguments of tenacity's Retrying and AsyncRetrying, for HTTP."""
    # Imported here: gRPC retries by itself.
    from tenacity import retry_if_exception_type, stop_after_attempt, wait_random_exponential

    backoff = wait_random_exponential(multiplier=policy.first, max=policy.longest)
    enough_attempts = stop_after_attempt(policy.attempts)

    def wait(state: "RetryCallState") -> float:
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.retry_after if isinstance(error, CallError) else None
        return backoff(state) + (retry_after or 0.0)

    def stop(state: "RetryCallState") -> bool:
        return enough_attempts(state) or state.upcoming_sleep >= deadline.remaining()

    return {
        "retry": retry_if_exception_type((UnavailableError, OverloadedError)),
        "wait": wait,
        "stop": stop,
        "reraise": True,
    }
