"""Requests that take too long."""

import logging
import threading

import pytest

from serving.api.status import Code, StatusError
from serving.model_server.deadline import Deadline
from serving.model_server.rest_api.time_limit import TimeLimit
from tests.waiting import until


class Work:
    """Waits until it may proceed, and counts how often it began."""

    def __init__(self, error: Exception | None = None) -> None:
        self.proceed = threading.Event()
        self.begun = 0
        self._error = error

    def __call__(self, deadline: Deadline) -> str:
        self.begun += 1
        assert self.proceed.wait(30)
        if self._error:
            raise self._error
        return "done"


def now() -> float:
    return Deadline.after(0).moment


@pytest.mark.parametrize("seconds", [None, 30.0])
def test_work_within_the_limit(seconds: float | None) -> None:
    limit = TimeLimit(seconds, threads=1)
    work = Work()
    work.proceed.set()
    assert limit.run(work, now()) == "done"
    with pytest.raises(TimeoutError, match="of the work itself"):
        limit.run(raising(TimeoutError("of the work itself")), now())
    assert limit.close()


def raising(error: Exception) -> Work:
    work = Work(error)
    work.proceed.set()
    return work


def test_work_that_takes_too_long_is_abandoned() -> None:
    limit, work = TimeLimit(0.3, threads=1), Work()
    with pytest.raises(StatusError, match="after 300 ms \\(--rest_api_timeout_in_ms\\)") as caught:
        limit.run(work, now())
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    # It holds the only thread, so what comes now is not begun, and not begun later either.
    other = Work()
    with pytest.raises(StatusError, match="before the model was run"):
        limit.run(other, now())
    assert not limit.close()
    work.proceed.set()
    until(limit.close, what="the abandoned work ends")
    assert (work.begun, other.begun) == (1, 0)


def test_work_whose_time_was_over_when_it_came_is_not_begun() -> None:
    limit, work = TimeLimit(30.0, threads=1), Work()
    with pytest.raises(StatusError, match="before the model was run"):
        limit.run(work, now() - 31)
    assert work.begun == 0
    assert limit.close()


@pytest.mark.parametrize(
    ("error", "logged"),
    [(RuntimeError("secret"), True), (StatusError(Code.INVALID_ARGUMENT, "bad"), False)],
)
def test_abandoned_work_that_fails_is_logged(
    error: Exception, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    limit, work = TimeLimit(0.3, threads=1), Work(error)
    with caplog.at_level(logging.ERROR), pytest.raises(StatusError):
        limit.run(work, now())
    work.proceed.set()
    until(limit.close, what="the abandoned work ends")
    assert ("secret" in caplog.text) == logged
