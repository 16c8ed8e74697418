"""How long threads, versions and the arrays of requests live."""

import contextlib
import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.batching.parameters import QueueParameters
from tests.unit.model_server.batching.engines import Bench, answer, refusal, rows
from tests.waiting import until
from tfs_api.status import Code, StatusError


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
