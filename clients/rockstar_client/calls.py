"""How a call is made: its deadline, its retries, and its requests one after the other.

One retry policy serves HTTP and gRPC. A prediction changes nothing, so it may be repeated even
after a lost connection. Clients retry when the server is unavailable (UNAVAILABLE, 503) or limits
requests over HTTP (429). RESOURCE_EXHAUSTED over gRPC is not retried: TensorFlow Serving returns
it for messages that are too large and for lack of memory; its full queues are UNAVAILABLE.
"""

import math
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rockstar_client.errors import (
    CallError,
    DeadlineExceededError,
    OverloadedError,
    UnavailableError,
)
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

if TYPE_CHECKING:
    from tenacity import RetryCallState

# Default timeout of a call, in seconds.
DEFAULT_TIMEOUT_S = 10.0

Request = TypeVar("Request")
Result = TypeVar("Result")


class Deadline:
    """The time by which a call must be complete."""

    def __init__(self, timeout: float) -> None:
        """Start the clock; a timeout that is not a number of seconds above 0 is an error."""
        if not 0 < timeout < math.inf:
            raise InvalidInputError("timeout", expected="seconds above 0", got=repr(timeout))
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds until the deadline; negative if it has passed."""
        return self._end - time.monotonic()

    def left(self) -> float:
        """Seconds until the deadline; a DeadlineExceededError if it has passed."""
        left = self.remaining()
        if left <= 0:
            raise self.exceeded()
        return left

    def exceeded(self, what: str = "there was no answer") -> DeadlineExceededError:
        """Create the error for a missed deadline."""
        return DeadlineExceededError(
            Code.DEADLINE_EXCEEDED,
            f"{what} within {self._timeout:g} s: give it more with timeout=, or see why it is slow",
        )


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failed call is repeated, and after which pauses, within its deadline.

    Pauses grow and are random, so that many clients do not return at the same moment. A pause that
    the server requests (Retry-After, grpc-retry-pushback-ms) is respected; if it is longer than the
    time left, the call fails at once.

    Attributes:
        attempts: maximum number of calls, including the first; 1 disables retries. gRPC makes at
            most 5.
        first: longest first pause, in seconds.
        longest: longest pause, in seconds, after any number of failures.
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


def run(steps: Generator[Request, Any, Result], send: Callable[[Request], Any]) -> Result:
    """Run a call that consists of several requests, each made by `send`.

    Calls are written once, without I/O, for blocking and asynchronous clients: `steps` yields
    requests, receives the response or the exception, and returns the result.
    """
    try:
        request = next(steps)
        while True:
            try:
                response = send(request)
            except Exception as error:  # any failure is the generator's to handle
                request = steps.throw(error)
            else:
                request = steps.send(response)
    except StopIteration as end:
        result: Result = end.value
        return result


async def run_async(
    steps: Generator[Request, Any, Result], send: Callable[[Request], Awaitable[Any]]
) -> Result:
    """Do the same in an event loop; a thread reads files, images and responses."""
    # Imported here: blocking clients start sooner without it.
    import asyncio

    step = await asyncio.to_thread(_advance, partial(next, steps))
    while not isinstance(step, _Done):
        try:
            response = await send(step)
        except Exception as error:  # any failure is the generator's to handle
            resume = partial(steps.throw, error)
        else:
            resume = partial(steps.send, response)
        step = await asyncio.to_thread(_advance, resume)
    result: Result = step.result
    return result


class _Done(msgspec.Struct, frozen=True):
    """The result of a call that has ended: a thread cannot raise StopIteration."""

    result: Any


def _advance(resume: Callable[[], Request]) -> Request | _Done:
    try:
        return resume()
    except StopIteration as end:
        return _Done(end.value)
