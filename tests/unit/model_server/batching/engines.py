"""An engine that records its runs and can be held, and a scheduler that counts tasks."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rockstar_serving.model_server.batching import BatchingEngine, BatchQueue, Scheduler, Task
from rockstar_serving.model_server.batching_parameters import QueueParameters
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from tests import fake_engine
from tests.fake_engine import spec
from tests.waiting import until
from tfs_api.signature import Signature, TensorSpec
from tfs_api.status import Code, StatusError


def unknown(dtype: Any) -> TensorSpec:
    return TensorSpec("tensor:0", np.dtype(dtype), None)


ROWS = spec(np.float32, -1, -1)
SIGNATURES = {
    # Row by row, so that the result of a row does not depend on its batch.
    "double": Signature({"x": ROWS}, {"y": ROWS, "first": spec(np.float32, -1)}),
    "join": Signature(
        {"left": spec(object, -1), "right": spec(object, -1)}, {"text": spec(object, -1)}
    ),
    "scalar": Signature({"x": spec(np.float32)}, {"y": spec(np.float32)}),
    "fixed": Signature({"x": spec(np.float32, 1, 2)}, {"y": spec(np.float32, 1, 2)}),
    "total": Signature({"x": ROWS}, {"y": ROWS, "total": spec(np.float32)}),
    "constant": Signature({}, {"y": spec(np.float32, -1)}),
    "anything": Signature({"x": unknown(np.float32)}, {"y": unknown(np.float32)}),
    "half": Signature({"x": ROWS, "any": unknown(np.float32)}, {"y": ROWS}),
    "filter": Signature({"x": ROWS}, {"positive": spec(np.float32, -1, -1)}),
}
SPLITTING = QueueParameters(
    max_batch_size=8, execution_batch_size=3, max_enqueued_batches=3, split=True
)


def sized(rows: int, **more: Any) -> QueueParameters:
    """Parameters with this size of batches and of requests."""
    return QueueParameters(max_batch_size=rows, execution_batch_size=rows, **more)


class RecordingEngine:
    """Rejects rows with NaN; while it is held, runs wait."""

    name = "recording"
    signatures: Mapping[str, Signature] = SIGNATURES

    def __init__(self) -> None:
        self.runs: list[tuple[str, dict[str, Any]]] = []
        self.deadlines: list[Deadline] = []
        self.closed = False
        self.open = threading.Event()
        self.open.set()

    def run(self, signature, feeds, fetches, deadline=NO_DEADLINE):
        assert not self.closed
        deadline.check()
        self.runs.append((signature, dict(feeds)))
        self.deadlines.append(deadline)
        assert self.open.wait(30)
        outputs = self._outputs(signature, feeds)
        return {name: outputs[name] for name in fetches}

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    @property
    def sizes(self) -> list[int]:
        """Number of rows of each run."""
        return [len(next(iter(feeds.values()))) for _, feeds in self.runs]

    def _outputs(self, signature: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
        if signature == "join":
            return {"text": feeds["left"] + feeds["right"]}
        if signature == "constant":
            return {"y": np.ones(3, np.float32)}
        x = feeds["x"]
        if np.isnan(x).any():
            raise StatusError(Code.INVALID_ARGUMENT, "x is not a number")
        if signature == "double":
            return {"y": x * 2, "first": x[:, 0]}
        if signature == "filter":
            return {"positive": x[x[:, 0] > 0]}
        return {"y": x * 2, "total": x.sum()}


class CountingScheduler(Scheduler):
    """Counts the tasks that were queued instead of running directly in their callers' threads."""

    def __init__(self, threads: int = 1) -> None:
        super().__init__(threads, "test_batch_threads")
        self.submitted = 0

    def submit(self, queue: BatchQueue, task: Task) -> list[Task]:
        parts = super().submit(queue, task)
        self.submitted += 1
        return parts


@dataclass
class Bench:
    """A batching engine around a recording one, with one thread, and callers.

    If it is held, a request of one row occupies the thread until inner.open is set.
    """

    parameters: QueueParameters = field(default_factory=QueueParameters)
    observer: Any = None
    inner: RecordingEngine = field(default_factory=RecordingEngine)
    scheduler: CountingScheduler = field(default_factory=CountingScheduler)
    engine: BatchingEngine = field(init=False)
    callers: list[threading.Thread] = field(default_factory=list)
    held: bool = False

    def __post_init__(self) -> None:
        self.engine = BatchingEngine(self.inner, self.scheduler, self.parameters, self.observer)

    def __enter__(self) -> "Bench":
        if self.held:
            self.inner.open.clear()
            self.first = self.call("double", x=rows(0))
            until(lambda: self.inner.runs, what="the first request runs")
        return self

    def __exit__(self, *_: object) -> None:
        self.inner.open.set()
        for caller in self.callers:
            caller.join(30)
        if not self.inner.closed:
            self.engine.close()

    def wait_in_queue(self, signature="double", fetches=None, **more):
        """Send a request while the thread is held; returns when it is queued."""
        before = self.scheduler.submitted
        future = self.call(signature, fetches, **more)
        until(lambda: future.done() or self.scheduler.submitted > before, what="the request waits")
        return future

    def call(self, signature, fetches=None, deadline=NO_DEADLINE, **feeds):
        """Send a request from a new thread."""
        names = fetches or list(SIGNATURES[signature].outputs)
        future = Future()

        def answer() -> None:
            try:
                future.set_result(self.engine.run(signature, feeds, names, deadline))
            except Exception as error:
                future.set_exception(error)

        self.callers.append(threading.Thread(target=answer))
        self.callers[-1].start()
        return future


def rows(*first: float, width: int = 2) -> Any:
    """An array with one row per number, filled with it."""
    return np.repeat(np.array(first, np.float32)[:, np.newaxis], width, axis=1)


def texts(*values: bytes) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def answer(future: Any) -> Any:
    return future.result(30)["y"].tolist()


def refusal(future: Any) -> tuple[Code, str]:
    return fake_engine.refusal(future.result, 30)
