"""Deadlines of requests that wait, and of those that run."""

import threading
import time

from msgspec.structs import force_setattr

from rockstar_serving.model_server.batching.parameters import QueueParameters
from rockstar_serving.model_server.deadline import Deadline
from tests.unit.model_server.batching.engines import SPLITTING, Bench, answer, refusal, rows
from tests.waiting import until
from tfs_api.status import Code


def test_who_waits_leaves_at_the_deadline_and_is_never_run() -> None:
    with Bench() as bench:
        first = bench.hold()
        hasty = bench.wait_in_queue(x=rows(1), deadline=Deadline.after(0.05))
        patient = bench.wait_in_queue(x=rows(2), deadline=Deadline.after(30))
        # Answered while the thread is still held.
        assert refusal(hasty)[0] == Code.DEADLINE_EXCEEDED
        assert not first.done()
        bench.inner.open.set()
        assert answer(patient) == [[4, 4]]
        assert bench.inner.sizes == [1, 1]


def test_a_batch_may_take_until_the_last_of_its_deadlines() -> None:
    with Bench() as bench:
        bench.hold()
        deadlines = [Deadline.after(60), Deadline.after(90), Deadline.after(30)]
        waiting = [bench.wait_in_queue(x=rows(1), deadline=each) for each in deadlines]
        bench.inner.open.set()
        for each in waiting:
            each.result(30)
        assert bench.inner.deadlines[1] == deadlines[1]


def test_who_runs_is_waited_for_past_the_deadline() -> None:
    asked = threading.Event()

    class PassesDuringTheRun(Deadline, frozen=True):
        def remaining(self) -> float:
            until(lambda: bench.inner.runs, what="the request runs")
            asked.set()
            return 0

    # So long that the caller does not run it itself, however late it gets to that.
    with Bench(QueueParameters(batch_timeout_micros=200_000)) as bench:
        bench.inner.open.clear()
        late = bench.call("double", x=rows(1), deadline=PassesDuringTheRun())
        assert asked.wait(30)
        bench.inner.open.set()
        assert answer(late) == [[2, 2]]


def expire(deadline: Deadline) -> None:
    force_setattr(deadline, "moment", time.monotonic() - 1)


def test_a_large_request_fails_when_a_part_of_it_is_too_late() -> None:
    deadline = Deadline()
    with Bench(SPLITTING) as bench:
        bench.inner.open.clear()
        large = bench.call("double", x=rows(*range(6)), deadline=deadline)
        until(lambda: bench.inner.runs)
        expire(deadline)
        bench.inner.open.set()
        assert refusal(large)[0] == Code.DEADLINE_EXCEEDED
        assert bench.inner.sizes == [3]


def test_an_expired_request_is_not_run_when_its_caller_is_slow_to_leave() -> None:
    deadline = Deadline()
    with Bench() as bench:
        bench.hold()
        late = bench.wait_in_queue(x=rows(1), deadline=deadline)
        expire(deadline)
        bench.inner.open.set()
        assert refusal(late)[0] == Code.DEADLINE_EXCEEDED
        assert bench.inner.sizes == [1]
