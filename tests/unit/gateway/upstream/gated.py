"""A backend that holds calls until it is told to let them go, and notes what came."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rockstar_client.backend import TensorResponse
from tests.waiting import until


class GatedBackend:
    """Doubles its input; fails batches that hold a negative number."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []
        self.lanes: list[tuple] = []
        self.timeouts: list[float | None] = []
        self.failure: Exception | None = None
        self.bad: Exception | None = None
        self.outputs = lambda batch: {"y": batch * 2}
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def predict(self, model, inputs, *, version, label, signature, outputs, timeout):
        (batch,) = inputs.values()
        with self._lock:
            self.batches.append(batch)
            self.lanes.append((model, version, label, signature, outputs))
            self.timeouts.append(timeout)
        assert self.gate.wait(30)
        if self.failure:
            raise self.failure
        if self.bad and batch.dtype.kind == "f" and (batch < 0).any():
            raise self.bad
        return TensorResponse(self.outputs(batch), 7)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


class Callers:
    """Calls a backend in threads, one after the other into its queue."""

    def __init__(self, backend, gated: GatedBackend) -> None:
        self.backend = backend
        self.gated = gated
        self.pool = ThreadPoolExecutor(32)

    def hold(self, inputs, **options):
        """A call that is on its way now, and stays there until `release`."""
        self.gated.gate.clear()
        before = len(self.gated.batches)
        future = self.send(inputs, **options)
        until(lambda: len(self.gated.batches) > before)
        return future

    def queue(self, inputs, **options):
        """A call that waits now for the one on its way."""
        before = self.waiting()
        future = self.send(inputs, **options)
        until(lambda: self.waiting() > before)
        return future

    def send(self, inputs, *, model="toy", timeout=30.0, **options):
        return self.pool.submit(
            self.backend.predict, model, {"x": inputs}, timeout=timeout, **options
        )

    def waiting(self) -> int:
        return sum(len(traffic.waiting) for traffic in self.backend._lanes.values())

    def release(self) -> None:
        self.gated.gate.set()
