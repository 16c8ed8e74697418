"""Batching around an engine: what runs together, and in which order."""

import numpy as np

from rockstar_serving.model_server.batching.observer import NoObserver
from rockstar_serving.model_server.batching.parameters import QueueParameters
from tests.unit.model_server.batching.engines import Bench, answer, refusal, rows, texts
from tfs_api.status import Code


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


def test_an_observer_that_fails_leaves_nobody_waiting() -> None:
    class Broken(NoObserver):
        def padding_size(self, rows: int, execution_batch_size: int) -> None:
            raise RuntimeError("no disk")

    with Bench(observer=Broken()) as bench:
        error = bench.call("double", x=rows(1)).exception(30)
        assert isinstance(error, RuntimeError)
