"""Dynamic batching: requests that wait for the same model go to it in one call.

The first request is sent at once. Requests that arrive while `max_calls` calls for the same model,
version and signature are in flight wait, and form the next batch; a full batch is sent at once.
Nothing waits for more requests to come. There is no batching thread: when a call ends, the leader
of the next batch makes the call for all its requests, in its own thread.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rockstar_client.backend import Backend, TensorResponse
from rockstar_client.errors import CallError, DeadlineExceededError, call_error
from rockstar_serving.gateway.backends import BackendWrapper
from rockstar_serving.gateway.observers import Observer
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import Code

Inputs: TypeAlias = Mapping[str, NDArray[Any]]
# What requests must have in common to share calls: model, version, label, signature, outputs.
BatchKey: TypeAlias = tuple[str, int | None, str | None, str, tuple[str, ...]]

# Errors that one bad input can cause: each request of the batch is then sent alone.
_MAYBE_ONE_REQUEST = {
    Code.INVALID_ARGUMENT,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
    Code.INTERNAL,
    Code.UNKNOWN,
}


class PendingRequest:
    """A request that may share a call.

    Attributes:
        inputs: its arrays, each with the same number of rows.
        rows: that number.
        layout: names, dtypes and shapes of rows; only requests of one layout share a call.
        deadline: monotonic seconds.
        batch: the requests to make a call for, if this one is the leader.
        outcome: of the call; None until it ends.
        batch_size: number of requests in the call.
    """

    def __init__(self, inputs: Inputs, rows: int, timeout: float) -> None:
        self.inputs = inputs
        self.rows = rows
        self.layout = tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items())
        self.deadline = time.monotonic() + timeout
        self.batch: Sequence[PendingRequest] = ()
        self.outcome: TensorResponse | CallError | None = None
        self.batch_size = 1
        # Of all primitives, a bare lock wakes a thread fastest.
        self._wakeup = threading.Lock()
        self._wakeup.acquire()

    def wait(self) -> bool:
        """Wait for `wake`; False if the deadline came first."""
        return self._wakeup.acquire(timeout=max(0.0, self.deadline - time.monotonic()))

    def wake(self) -> None:
        """End the wait, once: there is an outcome, or a batch to make the call for."""
        self._wakeup.release()

    def time_left(self) -> float:
        """Seconds until the deadline.

        Raises:
            DeadlineExceededError: it has passed.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(Code.DEADLINE_EXCEEDED, "there was no answer in time")
        return left


@dataclass
class BatchQueue:
    """Requests with one key that wait, and the number of calls in flight.

    A batch has at most `max_rows` rows.
    """

    max_rows: int
    calls: int = 0
    waiting: list[PendingRequest] = field(default_factory=list)

    def take_batch(self, *, only_full: bool = False) -> PendingRequest | None:
        """Take the longest waiting requests that fit into one call, and count the call.

        Args:
            only_full: take a batch only if no further request fits.

        Returns:
            The leader, which holds the batch; None if there is no batch to send.
        """
        batch: list[PendingRequest] = []
        left: list[PendingRequest] = []
        rows = 0
        for request in self.waiting:
            if request.layout == self.waiting[0].layout and rows + request.rows <= self.max_rows:
                batch.append(request)
                rows += request.rows
            else:
                left.append(request)
        full = rows == self.max_rows or any(request.layout == batch[0].layout for request in left)
        if not batch or (only_full and not full):
            return None
        self.calls += 1
        self.waiting = left
        # The latest deadline, so that the call does not outlast its leader.
        leader = max(batch, key=lambda request: request.deadline)
        leader.batch = batch
        return leader


class Batching(BackendWrapper):
    """A backend whose Predict calls are shared; thread-safe.

    For signatures that treat each row by itself, such as those that a contract describes.
    """

    def __init__(
        self,
        backend: Backend,
        max_batch: Callable[[str], int],
        max_calls: int,
        observer: Observer,
    ) -> None:
        """Wrap a backend.

        Args:
            backend: makes the calls.
            max_batch: maximum number of rows in a shared call, by model.
            max_calls: calls with one key at a time; while there are fewer, no request waits.
            observer: notified of shared calls.
        """
        super().__init__(backend)
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._observer = observer
        self._lock = threading.Lock()
        # A queue exists while calls are in flight or requests wait.
        self._queues: dict[BatchKey, BatchQueue] = {}

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TensorResponse:
        """See Backend; without a timeout the call is not shared."""
        key = (model, version, label, signature, tuple(outputs))
        shapes = {array.shape[:1] for array in inputs.values()}
        rows = shapes.pop()[0] if len(shapes) == 1 and () not in shapes else None
        max_rows = self._max_batch(model)
        if timeout is None or rows is None or rows >= max_rows:
            return self._send(key, inputs, timeout)
        request = PendingRequest(inputs, rows, timeout)
        with self._lock:
            queue = self._queues.setdefault(key, BatchQueue(max_rows))
            queue.waiting.append(request)
            only_full = queue.calls >= self._max_calls
            leader = queue.take_batch(only_full=only_full)
        if leader is not request:
            if leader is not None:
                leader.wake()
            if not request.wait():
                with self._lock:
                    late = self._queues.get(key)
                    if late is not None and request in late.waiting:
                        late.waiting.remove(request)
        if request.batch:
            self._call(key, request)
        outcome = request.outcome
        if isinstance(outcome, TensorResponse):
            return outcome
        if outcome is None or (outcome.code in _MAYBE_ONE_REQUEST and request.batch_size > 1):
            return self._send(key, inputs, request.time_left())
        # Several threads raise it: each needs its own instance.
        raise call_error(outcome.code, outcome.message) from outcome

    def _call(self, key: BatchKey, leader: PendingRequest) -> None:
        """Make the call for a batch, and wake its requests and the next leader."""
        # Not kept: it contains the leader itself.
        batch, leader.batch = leader.batch, ()
        outcomes: Sequence[TensorResponse | CallError] | None = None
        try:
            if len(batch) == 1:
                outcomes = [self._send(key, leader.inputs, leader.time_left())]
            else:
                self._observer.joined(key[0], len(batch))
                inputs = {
                    name: np.concatenate([request.inputs[name] for request in batch])
                    for name in batch[0].inputs
                }
                outcomes = _split(self._send(key, inputs, leader.time_left()), batch)
        except CallError as error:
            outcomes = [error] * len(batch)
        finally:
            with self._lock:
                queue = self._queues[key]
                queue.calls -= 1
                next_leader = queue.take_batch()
                if not queue.calls and not queue.waiting:
                    del self._queues[key]
            if next_leader is not None:
                next_leader.wake()
            if outcomes is None:
                outcomes = [call_error(Code.UNKNOWN, "the joint call failed")] * len(batch)
            for request, outcome in zip(batch, outcomes, strict=True):
                request.outcome, request.batch_size = outcome, len(batch)
                if request is not leader:
                    request.wake()

    def _send(self, key: BatchKey, inputs: Inputs, timeout: float | None) -> TensorResponse:
        model, version, label, signature, outputs = key
        return self._backend.predict(
            model,
            inputs,
            version=version,
            label=label,
            signature=signature,
            outputs=outputs,
            timeout=timeout,
        )


def _split(
    response: TensorResponse, batch: Sequence[PendingRequest]
) -> list[TensorResponse] | None:
    """Each request's rows of a response; None if it has another number of rows than was sent."""
    total = sum(request.rows for request in batch)
    if any(array.shape[:1] != (total,) for array in response.outputs.values()):
        return None
    responses, start = [], 0
    for request in batch:
        rows = slice(start, start := start + request.rows)
        outputs = {name: array[rows] for name, array in response.outputs.items()}
        responses.append(TensorResponse(outputs, response.version))
    return responses
