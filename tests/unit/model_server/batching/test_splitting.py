"""Requests that are too large for one batch."""

import numpy as np

from rockstar_serving.model_server.batching.parameters import QueueParameters
from tests.unit.model_server.batching.engines import SPLITTING, Bench, answer, refusal, rows
from tfs_api.status import Code


def test_a_request_that_is_too_large_is_refused() -> None:
    with Bench(QueueParameters(max_batch_size=2, execution_batch_size=2)) as bench:
        assert refusal(bench.call("double", x=rows(1, 2, 3))) == (
            Code.INVALID_ARGUMENT,
            "Task size 3 is larger than maximum input batch size 2",
        )
        assert bench.inner.runs == []


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
