"""In any batch, each request gets the same result as alone.

Exceptions are requests that batching rejects: without rows, or with outputs of other row counts.
"""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rockstar_serving.model_server.batching_parameters import QueueParameters
from tests.unit.model_server.batching.engines import (
    Bench,
    CountingScheduler,
    RecordingEngine,
    rows,
    texts,
)
from tfs_api.status import Code, StatusError

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


@settings(max_examples=60, deadline=None)
@given(
    parameters=parameters(),
    mix=st.lists(requests(), min_size=2, max_size=10),
    threads=st.integers(1, 2),
)
def test_each_request_gets_the_same_result_as_alone(parameters, mix, threads):
    alone = RecordingEngine()
    with Bench(parameters, scheduler=CountingScheduler(threads)) as bench:
        if threads == 1:
            bench.hold()
        futures = [bench.call(signature, fetches, **feeds) for signature, fetches, feeds in mix]
        bench.inner.open.set()
        for future, (signature, fetches, feeds) in zip(futures, mix, strict=True):
            got = outcome(lambda each=future: each.result(30))
            if isinstance(got, tuple) and got[0] == Code.FAILED_PRECONDITION:
                got = got[0]  # its message tells the sizes of a part
            assert got == right_outcome(alone, signature, feeds, fetches)
