"""Batching around an engine."""

import contextlib
import gc
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from msgspec.structs import force_setattr

from serving.api.status import Code, StatusError
from serving.model_server.batching.observer import NoObserver
from serving.model_server.batching.parameters import QueueParameters
from serving.model_server.deadline import Deadline
from tests.unit.model_server.batching.engines import SIGNATURES, Bench, rows, texts
from tests.waiting import until


def answer(future: Any) -> Any:
    return future.result(30)["y"].tolist()


def refusal(future: Any) -> tuple[Code, str]:
    error = future.exception(30)
    assert isinstance(error, StatusError)
    return error.code, error.message


def test_what_waits_runs_together_and_each_gets_its_own() -> None:
    with Bench() as bench:
        first = bench.hold()
        waiting = [bench.wait_in_queue(x=x) for x in (rows(1), rows(2, 3), rows(4))]
        bench.inner.open.set()
        assert answer(first) == [[0, 0]]
        assert [answer(each) for each in waiting] == [[[2, 2]], [[4, 4], [6, 6]], [[8, 8]]]
        assert bench.inner.sizes == [1, 4]


def test_a_request_without_company_is_not_kept_waiting() -> None:
    with Bench() as bench:
        assert answer(bench.call("double", x=rows(1))) == [[2, 2]]
        assert answer(bench.call("double", x=rows(2))) == [[4, 4]]
        assert bench.inner.sizes == [1, 1]


def test_a_batch_waits_for_company_until_it_is_full() -> None:
    parameters = QueueParameters(
        max_batch_size=3, execution_batch_size=3, batch_timeout_micros=3_600_000_000
    )
    with Bench(parameters) as bench:
        early = bench.wait_in_queue(x=rows(1, 2))
        assert not early.done()
        late = bench.call("double", x=rows(3))
        assert answer(early) == [[2, 2], [4, 4]]
        assert answer(late) == [[6, 6]]
        assert bench.inner.sizes == [3]


def test_a_batch_without_company_runs_after_the_timeout() -> None:
    with Bench(QueueParameters(batch_timeout_micros=20_000)) as bench:
        assert answer(bench.call("double", x=rows(1))) == [[2, 2]]


def test_a_thread_that_takes_other_work_leaves_the_clock_to_another() -> None:
    slow = QueueParameters(max_batch_size=2, execution_batch_size=2, batch_timeout_micros=50_000)
    with Bench(slow) as bench:
        alone = bench.wait_in_queue(x=rows(1))
        pair = [bench.call("double", x=rows(2, width=3)) for _ in range(2)]
        assert [answer(each) for each in pair] == [[[4, 4, 4]]] * 2
        assert answer(alone) == [[2, 2]]


def test_requests_that_differ_are_not_mixed() -> None:
    with Bench() as bench:
        bench.hold()
        waiting = [
            bench.wait_in_queue(x=rows(1)),
            bench.wait_in_queue(x=rows(2, width=3)),
            bench.wait_in_queue("total", ["y"], x=rows(3)),
            bench.wait_in_queue(fetches=["y"], x=rows(4)),
            bench.wait_in_queue(x=rows(5).astype(np.float64)),
            bench.wait_in_queue(fetches=["first", "y"], x=rows(6)),
        ]
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [
            [[2, 2]],
            [[4, 4, 4]],
            [[6, 6]],
            [[8, 8]],
            [[10, 10]],
            [[12, 12]],
        ]
        # The order of the outputs asked for makes no difference.
        assert sorted(bench.inner.sizes) == [1, 1, 1, 1, 1, 2]
        shapes = [(name, feeds["x"].shape, feeds["x"].dtype) for name, feeds in bench.inner.runs]
        assert ("double", (2, 2), np.float32) in shapes
        assert list(waiting[3].result()) == ["y"]
        assert list(waiting[5].result()) == ["first", "y"]


def test_strings_and_several_inputs() -> None:
    with Bench() as bench:
        bench.hold()
        first = bench.wait_in_queue("join", left=texts(b"a", b"b"), right=texts(b"1", b"2"))
        second = bench.wait_in_queue("join", right=texts(b"3"), left=texts(b"c"))
        bench.inner.open.set()
        assert first.result(30)["text"].tolist() == [b"a1", b"b2"]
        assert second.result(30)["text"].tolist() == [b"c3"]
        assert bench.inner.sizes == [1, 3]


def test_a_full_queue_refuses() -> None:
    parameters = QueueParameters(max_batch_size=2, execution_batch_size=2, max_enqueued_batches=2)
    with Bench(parameters) as bench:
        bench.hold()
        waiting = [bench.wait_in_queue(x=rows(n)) for n in range(4)]
        assert refusal(bench.call("double", x=rows(5))) == (
            Code.UNAVAILABLE,
            "The batch scheduling queue to which this task was submitted is full; currently 2 "
            "batches enqueued and max_enqueued_batches is 2",
        )
        # Another signature has a queue of its own.
        other = bench.wait_in_queue("total", ["y"], x=rows(6))
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [[[2 * n, 2 * n]] for n in range(4)]
        assert answer(other) == [[12, 12]]
        assert answer(bench.call("double", x=rows(7))) == [[14, 14]]


def test_a_request_that_is_too_large_is_refused() -> None:
    with Bench(QueueParameters(max_batch_size=2, execution_batch_size=2)) as bench:
        assert refusal(bench.call("double", x=rows(1, 2, 3))) == (
            Code.INVALID_ARGUMENT,
            "Task size 3 is larger than maximum input batch size 2",
        )
        assert bench.inner.runs == []


SPLITTING = QueueParameters(
    max_batch_size=8, execution_batch_size=3, max_enqueued_batches=3, split=True
)


def test_a_large_request_is_split_and_fills_what_waits() -> None:
    with Bench(SPLITTING) as bench:
        bench.hold()
        small = bench.wait_in_queue(x=rows(1, 2))
        large = bench.wait_in_queue(x=rows(3, 4, 5, 6, 7))
        bench.inner.open.set()
        assert answer(small) == [[2, 2], [4, 4]]
        assert answer(large) == [[n * 2, n * 2] for n in (3, 4, 5, 6, 7)]
        assert large.result()["first"].tolist() == [3, 4, 5, 6, 7]
        assert bench.inner.sizes == [1, 3, 3, 1]


def test_a_request_larger_than_the_room_that_is_left_is_refused() -> None:
    with Bench(SPLITTING) as bench:
        bench.hold()
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


def test_one_bad_part_fails_a_large_request() -> None:
    with Bench(SPLITTING) as bench:
        large = bench.call("double", x=rows(1, 2, 3, 4, np.nan))
        assert refusal(large) == (Code.INVALID_ARGUMENT, "x is not a number")


class Measurements(NoObserver):
    def __init__(self) -> None:
        self.inputs: list[int] = []
        self.batches: list[int] = []
        self.paddings: list[tuple[int, int]] = []
        self.latencies: list[float] = []

    def input_batch_size(self, rows: int) -> None:
        self.inputs.append(rows)

    def processed_batch_size(self, rows: int) -> None:
        self.batches.append(rows)

    def padding_size(self, rows: int, execution_batch_size: int) -> None:
        self.paddings.append((rows, execution_batch_size))

    def queuing_latency(self, microseconds: float) -> None:
        self.latencies.append(microseconds)


def test_batches_are_padded_to_the_sizes_allowed() -> None:
    parameters = QueueParameters(
        max_batch_size=8, execution_batch_size=8, allowed_batch_sizes=(1, 4, 8)
    )
    measurements = Measurements()
    with Bench(parameters, measurements) as bench:
        bench.hold()
        waiting = [bench.wait_in_queue(x=x) for x in (rows(1), rows(2, 3, 4, 5))]
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [
            [[2, 2]],
            [[4, 4], [6, 6], [8, 8], [10, 10]],
        ]
        assert bench.inner.runs[1][1]["x"][:, 0].tolist() == [1, 2, 3, 4, 5, 2, 2, 2]
    assert (measurements.inputs, measurements.batches) == ([1, 1, 4], [1, 8])
    assert measurements.paddings == [(0, 1), (3, 8)]
    assert len(measurements.latencies) == 3
    assert min(measurements.latencies) >= 0


def test_inputs_of_different_lengths_are_padded_with_their_first_value() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True)) as bench:
        bench.hold()
        short = bench.wait_in_queue(x=np.array([[7, 8], [9, 10]], np.float32))
        long = bench.wait_in_queue(x=rows(1, width=4))
        other = bench.wait_in_queue(x=rows(1).astype(np.float64))
        bench.inner.open.set()
        assert bench.inner.open.is_set()
        assert answer(short) == [[14, 16, 14, 14], [18, 20, 14, 14]]
        assert answer(long) == [[2, 2, 2, 2]]
        assert answer(other) == [[2, 2]]


def test_an_empty_length_cannot_be_padded_but_runs_alone() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True)) as bench:
        bench.hold()
        empty = bench.wait_in_queue("total", ["y"], x=np.empty((2, 0), np.float32))
        other = bench.wait_in_queue("total", ["y"], x=rows(1))
        bench.inner.open.set()
        assert (answer(empty), answer(other)) == ([[], []], [[2, 2]])


@pytest.mark.parametrize(
    ("signature", "feeds", "message"),
    [
        (
            "join",
            {"left": texts(b"a"), "right": texts(b"1", b"2")},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        (
            "half",
            {"x": rows(1), "any": np.array(1, np.float32)},
            "Batching Run() input tensors must have at least one dimension",
        ),
    ],
)
def test_inputs_that_do_not_agree_in_their_rows(signature: str, feeds: Any, message: str) -> None:
    with Bench() as bench:
        assert refusal(bench.call(signature, **feeds)) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("signature", "feeds"),
    [
        ("scalar", {"x": np.array(2, np.float32)}),
        ("fixed", {"x": rows(2)}),
        ("total", {"x": rows(2)}),
        ("constant", {}),
        ("anything", {"x": np.array(2, np.float32)}),
        ("double", {"x": rows()}),
    ],
)
def test_what_has_no_rows_in_common_runs_alone(signature: str, feeds: Any) -> None:
    with Bench() as bench:
        bench.inner.open.clear()
        # Past the single thread: both are inside.
        both = [bench.call(signature, **feeds) for _ in range(2)]
        until(lambda: len(bench.inner.runs) == 2)
        bench.inner.open.set()
        for each in both:
            assert each.result(30).keys() == SIGNATURES[signature].outputs.keys()


def test_a_signature_of_unknown_shapes_is_batched_where_the_request_can_be() -> None:
    with Bench() as bench:
        bench.hold()
        waiting = [bench.wait_in_queue("anything", x=rows(n)) for n in (1, 2)]
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [[[2, 2]], [[4, 4]]]
        assert bench.inner.sizes == [1, 2]


def test_an_output_that_turns_out_to_have_other_rows_is_batched_no_more() -> None:
    def positive(future: Any) -> Any:
        return future.result(30)["positive"].tolist()

    with Bench() as bench:
        bench.hold()
        waiting = [bench.wait_in_queue("filter", x=rows(n, -1)) for n in (1, 2)]
        bench.inner.open.set()
        assert [positive(each) for each in waiting] == [[[1, 1]], [[2, 2]]]
        assert bench.inner.sizes == [1, 4, 2, 2]
        bench.inner.open.clear()
        both = [bench.call("filter", x=rows(n, -1)) for n in (3, 4)]
        until(lambda: bench.inner.sizes == [1, 4, 2, 2, 2, 2], what="both run past the thread")
        bench.inner.open.set()
        assert [positive(each) for each in both] == [[[3, 3]], [[4, 4]]]


def test_a_bad_request_fails_alone() -> None:
    with Bench() as bench:
        bench.hold()
        waiting = [bench.wait_in_queue(x=rows(n)) for n in (1, np.nan, 3)]
        bench.inner.open.set()
        assert refusal(waiting[1]) == (Code.INVALID_ARGUMENT, "x is not a number")
        assert (answer(waiting[0]), answer(waiting[2])) == ([[2, 2]], [[6, 6]])
        assert bench.inner.sizes == [1, 3, 1, 1, 1]


def test_a_bad_request_alone_fails_once() -> None:
    with Bench() as bench:
        assert refusal(bench.call("double", x=rows(np.nan)))[0] == Code.INVALID_ARGUMENT
        assert bench.inner.sizes == [1]


def test_a_bad_request_alone_fails_once_when_it_is_padded_too() -> None:
    parameters = QueueParameters(max_batch_size=4, execution_batch_size=4, allowed_batch_sizes=(4,))
    with Bench(parameters) as bench:
        assert refusal(bench.call("double", x=rows(np.nan)))[0] == Code.INVALID_ARGUMENT
        assert bench.inner.sizes == [4]


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

    with Bench(QueueParameters(batch_timeout_micros=1000)) as bench:
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


def test_queues_are_served_in_turn() -> None:
    parameters = QueueParameters(max_batch_size=1, execution_batch_size=1)
    with Bench(parameters) as bench:
        bench.hold()
        waiting = [bench.wait_in_queue(x=rows(n)) for n in range(3)]
        waiting.append(bench.wait_in_queue("total", ["y"], x=rows(9)))
        bench.inner.open.set()
        for each in waiting:
            each.result(30)
        assert [name for name, _ in bench.inner.runs] == [
            *("double", "double", "total", "double", "double")
        ]


def test_close_runs_what_waits_then_refuses() -> None:
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


def test_an_observer_that_fails_leaves_nobody_waiting() -> None:
    class Broken(NoObserver):
        def padding_size(self, rows: int, execution_batch_size: int) -> None:
            raise RuntimeError("no disk")

    with Bench(observer=Broken()) as bench:
        error = bench.call("double", x=rows(1)).exception(30)
        assert isinstance(error, RuntimeError)


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

    with Bench() as bench:
        bench.hold()
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
