"""Deadlines of requests."""

import threading

import pytest

from rockstar_serving.model_server.deadline import (
    NO_DEADLINE,
    CallerGoneError,
    Deadline,
    DeadlinePassedError,
)


# gRPC reports about 292 years if a caller set no deadline.
@pytest.mark.parametrize("seconds", [None, 9.2e9])
def test_no_deadline_is_one_that_waiting_functions_take(seconds: float | None) -> None:
    deadline = Deadline.after(seconds)
    deadline.check()
    taken = threading.Semaphore(0)
    threading.Timer(0, taken.release).start()
    assert taken.acquire(timeout=deadline.remaining())


def test_a_deadline_passes() -> None:
    deadline = Deadline.after(0)
    assert deadline.remaining() == 0
    with pytest.raises(DeadlinePassedError):
        deadline.check()


def test_time_that_is_left() -> None:
    remaining = Deadline.after(60).remaining()
    assert remaining is not None
    assert 0 < remaining <= 60


def test_a_caller_that_goes_away_before_its_deadline() -> None:
    gone = threading.Event()
    deadline = Deadline.after(60, gone.is_set)
    deadline.check()
    gone.set()
    with pytest.raises(CallerGoneError):
        deadline.check()


def test_without_a_caller_no_request_is_cancelled() -> None:
    NO_DEADLINE.check()
