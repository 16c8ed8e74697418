"""Split requests, deadlines of queued requests, and lifetimes of threads and arrays."""

import contextlib
import gc
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from msgspec.structs import force_setattr

from rockstar_serving.model_server.batching_parameters import QueueParameters
from rockstar_serving.model_server.deadline import Deadline
from tests.unit.model_server.batching.engines import SPLITTING, Bench, answer, refusal, rows, sized
from tests.waiting import until
from tfs_api.status import Code, StatusError


def test_a_large_request_is_split_and_fills_the_queued_batch() -> None:
    with Bench(SPLITTING, held=True) as bench:
        small = bench.wait_in_queue(x=rows(1, 2))
        large = bench.wait_in_queue(x=rows(3, 4, 5, 6, 7))
        bench.inner.open.set()
        assert answer(small) == [[2, 2], [4, 4]]
        assert answer(large) == [[n * 2, n * 2] for n in (3, 4, 5, 6, 7)]
        assert large.result()["first"].tolist() == [3, 4, 5, 6, 7]
        assert bench.inner.sizes == [1, 3, 3, 1]


def test_a_request_larger_than_the_room_that_is_left_is_refused() -> None:
    with Bench(SPLITTING, held=True) as bench:
        waiting = bench.wait_in_queue(x=rows(1, 2, 3, 4))
        assert refusal(bench.call("double", x=rows(*range(6)))) == (
            Code.UNAVAILABLE,
            "The batch scheduling queue to which this task was submitted is full; task size is 6 "
            "but scheduling capacity is only 5 (num_enqueued_batches=2, max_enqueued_batches=3, "
            "open_batch_size=1, max_execution_batch_size=3)",
        )
        bench.inner.open.set()
        assert len(answer(waiting)) == 4
        assert refusal(bench.call("double", x=rows(*range(9))))[0] == Code.INVALID_ARGUMENT


def test_queued_requests_leave_at_the_deadline_and_never_run() -> None:
    with Bench(held=True) as bench:
        hasty = bench.wait_in_queue(x=rows(1), deadline=Deadline.after(0.05))
        patient = bench.wait_in_queue(x=rows(2), deadline=Deadline.after(30))
        # It returns while the thread is still held.
        assert refusal(hasty)[0] == Code.DEADLINE_EXCEEDED
        assert not bench.first.done()
        bench.inner.open.set()
        assert answer(patient) == [[4, 4]]
        assert bench.inner.sizes == [1, 1]


def test_a_batch_may_take_until_the_last_of_its_deadlines() -> None:
    with Bench(held=True) as bench:
        deadlines = [Deadline.after(60), Deadline.after(90), Deadline.after(30)]
        waiting = [bench.wait_in_queue(x=rows(1), deadline=each) for each in deadlines]
        bench.inner.open.set()
        for each in waiting:
            each.result(30)
        assert bench.inner.deadlines[1] == deadlines[1]


def test_running_requests_finish_after_the_deadline() -> None:
    asked = threading.Event()

    class PassesDuringTheRun(Deadline, frozen=True):
        def remaining(self) -> float:
            until(lambda: bench.inner.runs, what="the request runs")
            asked.set()
            return 0

    # So long that the caller never runs it itself.
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
    with Bench(held=True) as bench:
        late = bench.wait_in_queue(x=rows(1), deadline=deadline)
        expire(deadline)
        bench.inner.open.set()
        assert refusal(late)[0] == Code.DEADLINE_EXCEEDED
        assert bench.inner.sizes == [1]


def test_close_runs_queued_requests_and_rejects_new_ones() -> None:
    before = threading.active_count()
    with Bench(QueueParameters(batch_timeout_micros=3_600_000_000)) as bench:
        assert threading.active_count() > before
        waiting = bench.wait_in_queue(x=rows(1))
        bench.engine.close()
        assert answer(waiting) == [[2, 2]]
        assert bench.inner.closed
        assert refusal(bench.call("double", x=rows(1))) == (
            Code.UNAVAILABLE,
            "this version is being unloaded",
        )
    assert threading.active_count() == before


def test_threads_are_shared_and_live_as_long_as_an_engine() -> None:
    before = threading.active_count()
    first = Bench()
    second = Bench(scheduler=first.scheduler)
    assert threading.active_count() == before + 1
    with second:
        first.engine.close()
        assert answer(second.call("double", x=rows(1))) == [[2, 2]]
    assert threading.active_count() == before
    with Bench(scheduler=first.scheduler) as third:
        assert answer(third.call("double", x=rows(1))) == [[2, 2]]


@pytest.mark.parametrize("value", [1, np.nan])
def test_arrays_are_freed_with_their_requests(value: float) -> None:
    class Array(np.ndarray[Any, Any]):
        pass  # can be referred to weakly

    gone: list[Any] = []

    def ask(bench: Bench) -> None:
        x = rows(value).view(Array)
        gone.append(weakref.ref(x))
        outputs = bench.engine.run("total", {"x": x}, ["y"])
        gone.append(weakref.ref(outputs["y"].base))

    def release(bench: Bench) -> None:
        until(lambda: bench.scheduler.submitted == 2, what="both wait")
        bench.inner.open.set()

    with Bench(held=True) as bench:
        bench.wait_in_queue("total", ["y"], x=rows(1))
        bench.callers.append(threading.Thread(target=release, args=(bench,)))
        bench.callers[-1].start()
        gc.disable()
        try:
            with contextlib.suppress(StatusError):
                ask(bench)
            for caller in bench.callers:
                caller.join(30)
            bench.inner.runs.clear()
            # By reference counts alone, although an error knows the frames that it went through.
            until(lambda: all(reference() is None for reference in gone), 5, "freeing")
        finally:
            gc.enable()
        assert len(gone) == (1 if np.isnan(value) else 2)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf

# TensorFlow's SharedBatchScheduler, which TensorFlow Serving uses, has the same errors.
SIZE, ENQUEUED = 4, 2
PARAMETERS = sized(SIZE, max_enqueued_batches=ENQUEUED)


class Batched:
    """A function that TensorFlow batches with one thread; a run waits until `open` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.sizes: list[int] = []

        def run(x: Any) -> Any:
            self.sizes.append(len(x))
            assert self.open.wait(30)
            return x

        @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)  # type: ignore[untyped-decorator]
        def call(x: Any) -> Any:
            batch = tf.nondifferentiable_batch_function(
                *(1, SIZE, 0),
                max_enqueued_batches=ENQUEUED,
                enable_large_batch_splitting=False,
                autograph=False,
            )
            return batch(lambda x: tf.numpy_function(run, [x], tf.float32))(x)

        self.call = call


def last_line(error: BaseException) -> str:
    """The scheduler's message, without TensorFlow's additions."""
    lines = [line for line in str(error).splitlines() if "ask size" in line or "queue" in line]
    return lines[-1].split(" [[")[0].strip()


def test_too_large() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as theirs:
        Batched().call(rows(*range(SIZE + 1)))
    with Bench(PARAMETERS) as bench, pytest.raises(StatusError) as ours:
        bench.engine.run("double", {"x": rows(*range(SIZE + 1))}, ["y"])
    assert last_line(theirs.value) == ours.value.message


def test_full() -> None:
    batched = Batched()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(batched.call, rows(0))
        until(lambda: batched.sizes, what="the first request runs")
        others = [pool.submit(batched.call, rows(*range(SIZE))) for _ in range(ENQUEUED + 2)]
        until(lambda: sum(each.done() for each in others) == 2, what="two are refused")
        errors = [each.exception() for each in others if each.done()]
        batched.open.set()
        assert first.result(30).shape == (1, 2)
    assert all(isinstance(error, tf.errors.UnavailableError) for error in errors)
    with Bench(PARAMETERS, held=True) as bench:
        for _ in range(ENQUEUED):
            bench.wait_in_queue(x=rows(*range(SIZE)))
        with pytest.raises(StatusError) as ours:
            bench.engine.run("double", {"x": rows(*range(SIZE))}, ["y"])
    assert {last_line(error) for error in errors if error} == {ours.value.message}
