"""The retry policy as tenacity takes it: for HTTP, in calls that block and calls that do not."""

from typing import Any

from tenacity import (
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from rockstar_client.deadline import Deadline
from rockstar_client.errors import CallError, OverloadedError, UnavailableError
from rockstar_client.retry import RetryPolicy

_AGAIN = (UnavailableError, OverloadedError)


def trying(policy: RetryPolicy, deadline: Deadline) -> dict[str, Any]:
    """Arguments for tenacity's Retrying and AsyncRetrying."""
    backoff = wait_random_exponential(multiplier=policy.first, max=policy.longest)

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, CallError) else None
        return backoff(state) + (asked or 0.0)

    often_enough = stop_after_attempt(policy.attempts)

    def stop(state: RetryCallState) -> bool:
        return often_enough(state) or state.upcoming_sleep >= deadline.remaining()

    return {
        "retry": retry_if_exception_type(_AGAIN),
        "wait": pause,
        "stop": stop,
        "reraise": True,
    }
