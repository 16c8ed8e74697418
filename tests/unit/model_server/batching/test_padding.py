"""Batches that are filled up, and inputs that are lengthened."""

import numpy as np

from rockstar_serving.model_server.batching.observer import NoObserver
from rockstar_serving.model_server.batching.parameters import QueueParameters
from tests.unit.model_server.batching.engines import Bench, answer, refusal, rows, texts
from tfs_api.status import Code


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


def test_strings_are_padded_with_all_of_their_bytes() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True)) as bench:
        bench.hold()
        words = [texts(b"ends in \0"), texts(b"b", b"c")]
        waiting = [
            bench.wait_in_queue("join", left=each[np.newaxis], right=each[np.newaxis])
            for each in words
        ]
        bench.inner.open.set()
        first, second = [each.result(30)["text"].tolist() for each in waiting]
        assert first == [[b"ends in \0ends in \0"] * 2]
        assert second == [[b"bb", b"cc"]]


def test_an_empty_length_cannot_be_padded_but_runs_alone() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True)) as bench:
        bench.hold()
        empty = bench.wait_in_queue("total", ["y"], x=np.empty((2, 0), np.float32))
        other = bench.wait_in_queue("total", ["y"], x=rows(1))
        bench.inner.open.set()
        assert (answer(empty), answer(other)) == ([[], []], [[2, 2]])


def test_a_bad_request_alone_fails_once_when_it_is_padded_too() -> None:
    parameters = QueueParameters(max_batch_size=4, execution_batch_size=4, allowed_batch_sizes=(4,))
    with Bench(parameters) as bench:
        assert refusal(bench.call("double", x=rows(np.nan)))[0] == Code.INVALID_ARGUMENT
        assert bench.inner.sizes == [4]
