"""Batching around an engine: compatible requests, rows, padding, and batched versions."""

import gc
import threading
import weakref
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockstar_serving.model_server.batching import version_parameters
from rockstar_serving.model_server.batching_parameters import BatchingParameters, QueueParameters
from rockstar_serving.model_server.engines.engine import ServableId
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.options import BatchingOptions, ServerOptions
from tests.model_fixtures import SIDE, document, write_version
from tests.unit.model_server.batching.engines import (
    Bench,
    CountingScheduler,
    RecordingEngine,
    answer,
    refusal,
    rows,
    sized,
    texts,
)
from tfs_api.status import Code, StatusError

SCALAR = np.array(2, np.float32)


def test_queued_requests_run_together_and_each_gets_its_results() -> None:
    with Bench(held=True) as bench:
        waiting = [bench.wait_in_queue(x=x) for x in (rows(1), rows(2, 3), rows(4))]
        bench.inner.open.set()
        assert answer(bench.first) == [[0, 0]]
        assert [answer(each) for each in waiting] == [[[2, 2]], [[4, 4], [6, 6]], [[8, 8]]]
        assert bench.inner.sizes == [1, 4]


def test_a_request_without_company_is_not_kept_waiting() -> None:
    with Bench() as bench:
        assert answer(bench.call("double", x=rows(1))) == [[2, 2]]
        assert answer(bench.call("double", x=rows(2))) == [[4, 4]]
        assert bench.inner.sizes == [1, 1]


def test_a_batch_waits_for_company_until_it_is_full() -> None:
    parameters = sized(3, batch_timeout_micros=3_600_000_000)
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
    slow = sized(2, batch_timeout_micros=50_000)
    with Bench(slow) as bench:
        alone = bench.wait_in_queue(x=rows(1))
        pair = [bench.call("double", x=rows(2, width=3)) for _ in range(2)]
        assert [answer(each) for each in pair] == [[[4, 4, 4]]] * 2
        assert answer(alone) == [[2, 2]]


def test_requests_that_differ_are_not_mixed() -> None:
    with Bench(held=True) as bench:
        waiting = [
            bench.wait_in_queue(x=rows(1)),
            bench.wait_in_queue(x=rows(2, width=3)),
            bench.wait_in_queue("total", ["y"], x=rows(3)),
            bench.wait_in_queue(fetches=["y"], x=rows(4)),
            bench.wait_in_queue(x=rows(5).astype(np.float64)),
            bench.wait_in_queue(fetches=["first", "y"], x=rows(6)),
        ]
        bench.inner.open.set()
        answers = [answer(each) for each in waiting]
        assert answers == [[[2, 2]], [[4, 4, 4]], [[6, 6]], [[8, 8]], [[10, 10]], [[12, 12]]]
        # The order of the requested outputs makes no difference.
        assert sorted(bench.inner.sizes) == [1, 1, 1, 1, 1, 2]
        shapes = [(name, feeds["x"].shape, feeds["x"].dtype) for name, feeds in bench.inner.runs]
        assert ("double", (2, 2), np.float32) in shapes
        assert list(waiting[3].result()) == ["y"]
        assert list(waiting[5].result()) == ["first", "y"]


def test_a_full_queue_refuses() -> None:
    parameters = sized(2, max_enqueued_batches=2)
    with Bench(parameters, held=True) as bench:
        waiting = [bench.wait_in_queue(x=rows(n)) for n in range(4)]
        assert refusal(bench.call("double", x=rows(5))) == (
            Code.UNAVAILABLE,
            "The batch scheduling queue to which this task was submitted is full; currently 2 "
            "batches enqueued and max_enqueued_batches is 2",
        )
        # Another signature has its own queue.
        other = bench.wait_in_queue("total", ["y"], x=rows(6))
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [[[2 * n, 2 * n]] for n in range(4)]
        assert answer(other) == [[12, 12]]
        assert answer(bench.call("double", x=rows(7))) == [[14, 14]]


def test_queues_are_served_in_turn() -> None:
    parameters = sized(1)
    with Bench(parameters, held=True) as bench:
        waiting = [bench.wait_in_queue(x=rows(n)) for n in range(3)]
        waiting.append(bench.wait_in_queue("total", ["y"], x=rows(9)))
        bench.inner.open.set()
        for each in waiting:
            each.result(30)
        assert [name for name, _ in bench.inner.runs] == [
            *("double", "double", "total", "double", "double")
        ]


@pytest.mark.parametrize(
    ("signature", "feeds", "message"),
    [
        ("constant", {}, "must have at least one input tensor"),
        ("scalar", {"x": SCALAR}, "input tensors must have at least one dimension"),
        ("half", {"x": rows(1), "any": SCALAR}, "input tensors must have at least one dimension"),
        (
            *("join", {"left": texts(b"a"), "right": texts(b"1", b"2")}),
            "input tensors must have equal 0th-dimension size",
        ),
    ],
)
def test_inputs_that_do_not_agree_in_their_rows(signature: str, feeds: Any, message: str) -> None:
    with Bench() as bench:
        refused = refusal(bench.call(signature, **feeds))
        assert refused == (Code.INVALID_ARGUMENT, f"Batching Run() {message}")
        assert bench.inner.runs == []


@pytest.mark.parametrize(
    ("signature", "x", "message"),
    [
        ("total", rows(2), "Batched output tensor has 0 dimensions: output 'total' of 1 rows has"),
        (
            "filter",
            rows(2, -1),
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors: output 'positive' of 2 rows has the shape [1, 2]",
        ),
    ],
)
def test_outputs_without_the_rows_of_the_inputs(signature: str, x: Any, message: str) -> None:
    with Bench() as bench:
        code, text = refusal(bench.call(signature, x=x))
        assert code == Code.FAILED_PRECONDITION
        assert text.startswith(message)


def test_no_rows_at_all_run_past_the_queue() -> None:
    with Bench() as bench:
        bench.inner.open.clear()
        empty = [bench.call("double", x=rows()) for _ in range(2)]
        bench.inner.open.set()
        assert [answer(each) for each in empty] == [[], []]


@pytest.mark.parametrize("signature", ["fixed", "anything"])
def test_declared_shapes_do_not_matter(signature: str) -> None:
    with Bench(held=True) as bench:
        waiting = [bench.wait_in_queue(signature, ["y"], x=rows(n)) for n in (1, 2)]
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [[[2, 2]], [[4, 4]]]
        assert bench.inner.sizes == [1, 2]


def test_a_request_whose_outputs_have_other_rows_fails_none_of_its_neighbours() -> None:
    with Bench(held=True) as bench:
        waiting = [bench.wait_in_queue("filter", x=x) for x in (rows(1), rows(2, -1), rows(3))]
        bench.inner.open.set()
        assert refusal(waiting[1])[0] == Code.FAILED_PRECONDITION
        whole = [waiting[number].result(30)["positive"].tolist() for number in (0, 2)]
        assert whole == [[[1, 1]], [[3, 3]]]


def test_requests_of_other_ranks_share_no_batch() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True), held=True) as bench:
        flat = bench.wait_in_queue("anything", x=np.array([1, 2], np.float32))
        deep = bench.wait_in_queue("anything", x=np.ones((1, 1, 1), np.float32))
        deeper = bench.wait_in_queue("anything", x=np.ones((1,) * 7, np.float32))
        company = bench.wait_in_queue("anything", x=np.ones((1,) * 7, np.float32))
        bench.inner.open.set()
        assert answer(flat) == [2, 4]
        assert answer(deep) == [[[2]]]
        for each in (deeper, company):
            assert refusal(each) == (
                Code.INVALID_ARGUMENT,
                "Only tensors with rank from 1 to 6 can be padded.",
            )


def test_batches_are_padded_to_the_sizes_allowed() -> None:
    parameters = sized(8, allowed_batch_sizes=(1, 4, 8))
    observer = Mock()
    with Bench(parameters, observer, held=True) as bench:
        waiting = [bench.wait_in_queue(x=x) for x in (rows(1), rows(2, 3, 4, 5))]
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [[[2, 2]], [[4, 4], [6, 6], [8, 8], [10, 10]]]
        assert bench.inner.runs[1][1]["x"][:, 0].tolist() == [1, 2, 3, 4, 5, 2, 2, 2]
    assert observer.input_batch_size.mock_calls == [call(1), call(1), call(4)]
    assert observer.processed_batch_size.mock_calls == [call(1, 0), call(8, 3)]
    latencies = [each.args[0] for each in observer.queuing_latency.mock_calls]
    assert len(latencies) == 3
    assert min(latencies) >= 0


def test_inputs_of_different_lengths_are_padded_with_their_first_value() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True), held=True) as bench:
        short = bench.wait_in_queue(x=np.array([[7, 8], [9, 10]], np.float32))
        long = bench.wait_in_queue(x=rows(1, width=4))
        other = bench.wait_in_queue(x=rows(1).astype(np.float64))
        bench.inner.open.set()
        assert bench.inner.open.is_set()
        assert answer(short) == [[14, 16, 14, 14], [18, 20, 14, 14]]
        assert answer(long) == [[2, 2, 2, 2]]
        assert answer(other) == [[2, 2]]


def test_strings_are_padded_with_all_of_their_bytes() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True), held=True) as bench:
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
    with Bench(QueueParameters(pad_variable_length_inputs=True), held=True) as bench:
        empty = bench.wait_in_queue("total", ["y"], x=np.empty((2, 0), np.float32))
        other = bench.wait_in_queue("total", ["y"], x=rows(1))
        bench.inner.open.set()
        assert (answer(empty), answer(other)) == ([[], []], [[2, 2]])


def test_a_bad_request_alone_fails_once() -> None:
    parameters = sized(4, allowed_batch_sizes=(4,))
    with Bench(parameters) as bench:
        assert refusal(bench.call("double", x=rows(np.nan)))[0] == Code.INVALID_ARGUMENT
        assert bench.inner.sizes == [4]


PARAMETERS = BatchingParameters(QueueParameters(max_batch_size=5), threads=2)


def options(*, enabled: bool = True, per_model: bool = False) -> BatchingOptions:
    return BatchingOptions(enabled, PARAMETERS, per_model)


def test_nothing_is_batched_unless_configured(tmp_path: Path) -> None:
    assert version_parameters(options(enabled=False), tmp_path) is None
    folder = write_version(tmp_path, 1)
    assert isinstance(VersionLoader(ServerOptions(()))(ServableId("m", 1), folder), LiteRTEngine)


def test_versions_are_batched_by_the_servers_parameters(tmp_path: Path) -> None:
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 7 }")
    assert version_parameters(options(), tmp_path) == PARAMETERS.queue


@pytest.mark.slow
def test_nothing_remains_of_unloaded_versions(tmp_path: Path) -> None:
    # Not their number: threads of earlier tests may end meanwhile.
    before = {*threading.enumerate()}
    load = VersionLoader(ServerOptions((), batching=options()))
    version = ServableId("m", 1)
    gone = []
    image = np.zeros((1, SIDE, SIDE, 1), np.float32)
    query = np.zeros(2, np.int32)
    folder = write_version(tmp_path, 1)
    kept = load(version, folder)
    for _ in range(20):
        engine = load(version, folder)
        engine.run("serving_default", {"image": image}, ["probabilities"])
        outputs = engine.run("contract", {"query": query}, ["contract"])
        assert outputs["contract"].tolist() == [document(1).encode()] * 2
        assert len({*threading.enumerate()} - before) == 2
        gone.append(weakref.ref(engine))
        engine.close()
    del engine
    gc.collect()
    assert [reference() for reference in gone] == [None] * 20
    kept.close()
    assert {*threading.enumerate()} <= before


NUMBERS = st.integers(-100, 100).map(float)


@st.composite
def requests(draw: Any) -> tuple[str, list[str], dict[str, Any]]:
    kind = draw(st.sampled_from(["double", "join", "scalar", "filter", "anything"]))
    if kind == "join":
        words = draw(st.lists(st.binary(max_size=3), max_size=4))
        return kind, ["text"], {"left": texts(*words), "right": texts(*reversed(words))}
    if kind == "scalar":
        return kind, ["y"], {"x": np.array(draw(NUMBERS), np.float32)}
    # Which part of a split request fails first is random.
    number = NUMBERS if kind == "filter" else NUMBERS | st.just(np.nan)
    first = draw(st.lists(number, max_size=4))
    x = rows(*first, width=draw(st.integers(1, 3))).astype(draw(st.sampled_from("fd")))
    if kind == "double":
        return kind, draw(st.sampled_from([["y"], ["y", "first"], ["first", "y"]])), {"x": x}
    return kind, ["positive" if kind == "filter" else "y"], {"x": x}


@st.composite
def parameters(draw: Any) -> QueueParameters:
    split = draw(st.booleans())
    execution = draw(st.integers(1 if split else 4, 6))
    most = draw(st.integers(max(4, execution), 8)) if split else execution
    smaller = draw(st.sets(st.integers(1, most - 1))) if draw(st.booleans()) else None
    return QueueParameters(
        max_batch_size=most,
        execution_batch_size=execution,
        split=split,
        batch_timeout_micros=draw(st.sampled_from([0, 200])),
        max_enqueued_batches=100,
        allowed_batch_sizes=() if smaller is None else (*sorted(smaller), most),
    )


def outcome(ask: Any) -> Any:
    try:
        return {name: (array.dtype, array.tolist()) for name, array in ask().items()}
    except StatusError as error:
        return error.code, error.message


def right_outcome(engine: RecordingEngine, signature: str, feeds: Any, fetches: Any) -> Any:
    if signature == "scalar":
        return (
            Code.INVALID_ARGUMENT,
            "Batching Run() input tensors must have at least one dimension",
        )
    alone = outcome(lambda: engine.run(signature, feeds, fetches))
    if signature == "filter" and isinstance(alone, dict):
        (_, positive), size = alone["positive"], len(feeds["x"])
        if len(positive) != size:
            return Code.FAILED_PRECONDITION
    return alone


@settings(max_examples=60)
@given(
    parameters=parameters(),
    mix=st.lists(requests(), min_size=2, max_size=10),
    threads=st.integers(1, 2),
)
def test_each_request_gets_the_same_result_as_alone(parameters, mix, threads):
    alone = RecordingEngine()
    with Bench(parameters, scheduler=CountingScheduler(threads), held=threads == 1) as bench:
        futures = [bench.call(signature, fetches, **feeds) for signature, fetches, feeds in mix]
        bench.inner.open.set()
        for future, (signature, fetches, feeds) in zip(futures, mix, strict=True):
            got = outcome(lambda each=future: each.result(30))
            if isinstance(got, tuple) and got[0] == Code.FAILED_PRECONDITION:
                got = got[0]  # its message tells the sizes of a part
            assert got == right_outcome(alone, signature, feeds, fetches)
