"""Backends around another backend: batching, a circuit breaker, and a lazy connection.

Batching is dynamic: requests that wait for the same model go to it in one call. The first request
is sent at once. Requests that arrive while `max_calls` calls for the same model, version and
signature are in flight wait, and form the next batch; a full batch is sent at once. Nothing waits
for more requests to come.
"""

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace

from rockstar_client.backend import Backend, Metadata, Query, TensorResponse, VersionStatus
from rockstar_client.errors import CallError, DeadlineExceededError, UnavailableError, call_error
from rockstar_contract.contract import Contract
from rockstar_serving.gateway.call_threads import CallThreads
from rockstar_serving.gateway.observers import Call, Observer
from rockstar_serving.model_server.deadline import WouldBlockError
from tfs_api.messages.inference_pb2 import ClassificationResponse, RegressionResponse
from tfs_api.status import Code

# Consecutive timeouts that open the circuit.
FAILURES = 5
# Seconds between trial calls while it is open.
PAUSE_S = 1.0
# A call that is expected to take less runs on the event loop: a thread would cost more CPU.
_QUICK_S = 0.003
# After each call in a thread, the least time that a row took counts this much more.
_SLOWER = 1.1
# Turns of the event loop without a further request, after which a call starts.
_CALM_TURNS = 4

# Errors that one bad input can cause: each request of the batch is then sent alone.
_MAYBE_ONE_REQUEST = {
    Code.INVALID_ARGUMENT,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
    Code.INTERNAL,
    Code.UNKNOWN,
}

Answer = TypeVar("Answer")


class BackendWrapper:
    """Forwards every call to another backend; subclasses override `_run`, or a call."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def _run(self, method: Callable[[Query], Answer], query: Query) -> Answer:
        """Call a method of the other backend."""
        return method(query)

    def predict(self, query: Query) -> TensorResponse:
        """See Backend."""
        return self._run(self._backend.predict, query)

    def predict_now(self, query: Query) -> TensorResponse:
        """Predict in this process, without waiting for other calls, or raise WouldBlockError."""
        if not isinstance(self._backend, BackendWrapper):
            raise WouldBlockError
        return self._run(self._backend.predict_now, query)

    def classify(self, query: Query) -> ClassificationResponse:
        """See Backend."""
        return self._run(self._backend.classify, query)

    def regress(self, query: Query) -> RegressionResponse:
        """See Backend."""
        return self._run(self._backend.regress, query)

    def contract(self, query: Query) -> Contract:
        """See Backend."""
        return self._run(self._backend.contract, query)

    def metadata(self, query: Query) -> Metadata:
        """See Backend."""
        return self._run(self._backend.metadata, query)

    def status(self, query: Query) -> list[VersionStatus]:
        """See Backend."""
        return self._run(self._backend.status, query)

    def close(self) -> None:
        """See Backend."""
        self._backend.close()


# What requests must have in common to share calls: model, version, label, signature, outputs.
BatchKey = tuple[str, int | None, str | None, str, tuple[str, ...]]


class PendingRequest:
    """A request that waits to share a call.

    Attributes:
        query: its call; each of its inputs has the same number of rows.
        rows: that number.
        layout: names, dtypes and shapes of rows; only requests of one layout share a call.
        deadline: monotonic seconds.
    """

    def __init__(self, query: Query, rows: int, timeout: float) -> None:
        self.query = query
        self.rows = rows
        self.layout = {name: (array.dtype, array.shape[1:]) for name, array in query.inputs.items()}
        self.deadline = time.monotonic() + timeout

    def time_left(self) -> float:
        """Seconds until the deadline; raises DeadlineExceededError if it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise late()
        return left


Pending = TypeVar("Pending", bound=PendingRequest)


def late() -> DeadlineExceededError:
    """The error of a request whose deadline has passed."""
    return DeadlineExceededError(Code.DEADLINE_EXCEEDED, "there was no answer in time")


@dataclass
class PendingRequests(Generic[Pending]):
    """Requests with one key that wait, and the number of calls in flight.

    A batch has at most `max_rows` rows. `is_due`: whether a call is about to start.
    """

    max_rows: int
    calls: int = 0
    waiting: list[Pending] = field(default_factory=list)
    is_due: bool = False

    def take_batch(self, *, only_full: bool = False) -> list[Pending]:
        """Take the longest waiting requests that fit into one call, and count the call.

        Takes none if none wait; with `only_full`, also if a further request would fit.
        """
        batch: list[Pending] = []
        left: list[Pending] = []
        rows = 0
        for request in self.waiting:
            if request.layout == self.waiting[0].layout and rows + request.rows <= self.max_rows:
                batch.append(request)
                rows += request.rows
            else:
                left.append(request)
        full = rows == self.max_rows or any(request.layout == batch[0].layout for request in left)
        if not batch or (only_full and not full):
            return []
        self.calls += 1
        self.waiting = left
        return batch


# The result of a shared call for one request; None: it must be called alone.
Outcome = TensorResponse | CallError | None


class BatchLimits(msgspec.Struct, frozen=True):
    """Limits of batching.

    Attributes:
        max_rows: maximum number of rows in a shared call.
        max_calls: calls with one key at a time; while there are fewer, no request waits.
        max_rows_of: `max_rows` of single models.
    """

    max_rows: int
    max_calls: int
    max_rows_of: Mapping[str, int] = {}

    def rows_of(self, query: Query) -> int | None:
        """Number of rows of a query that may share a call; None if it must be called alone."""
        shapes = {array.shape[:1] for array in query.inputs.values()}
        if query.timeout is None or len(shapes) != 1 or () in shapes:
            return None
        rows: int = shapes.pop()[0]
        return rows if rows < self.of(query.model) else None

    def of(self, model: str) -> int:
        """The `max_rows` of a model."""
        return self.max_rows_of.get(model, self.max_rows)


def batch_key(query: Query) -> BatchKey:
    """The key of a query."""
    return (query.model, query.version, query.label, query.signature, tuple(query.outputs))


def call_together(
    predict: Callable[[Query], TensorResponse], batch: Sequence[PendingRequest], observer: Observer
) -> list[Outcome]:
    """Make one call for a batch of one or more requests; returns the outcome of each."""
    query = batch[0].query
    try:
        inputs = query.inputs
        if len(batch) > 1:
            inputs = {
                name: np.concatenate([request.query.inputs[name] for request in batch])
                for name in inputs
            }
        # The latest deadline: the requests have their own.
        timeout = max(request.deadline for request in batch) - time.monotonic()
        if timeout <= 0:
            raise late()
        outcomes = _split(predict(replace(query, inputs=inputs, timeout=timeout)), batch)
    except CallError as error:
        alone = error.code in _MAYBE_ONE_REQUEST and len(batch) > 1
        # Several requests raise it: each needs its own instance.
        outcomes = [None if alone else call_error(error.code, error.message) for _ in batch]
    if len(batch) > 1:
        observer.joined(query.model, len(batch))
    return outcomes


def _split(response: TensorResponse, batch: Sequence[PendingRequest]) -> list[Outcome]:
    """Each request's rows of a response; None if it has another number of rows than was sent."""
    if len(batch) == 1:
        return [response]
    total = sum(request.rows for request in batch)
    if any(array.shape[:1] != (total,) for array in response.outputs.values()):
        return [None] * len(batch)
    responses: list[Outcome] = []
    start = 0
    for request in batch:
        rows = slice(start, start := start + request.rows)
        outputs = {name: array[rows] for name, array in response.outputs.items()}
        responses.append(TensorResponse(outputs, response.version))
    return responses


class _WaitingThread(PendingRequest):
    """A request whose thread waits.

    Attributes:
        batch: the requests to make a call for, if this one is the leader.
        outcome: of the call, once it has ended.
    """

    def __init__(self, query: Query, rows: int, timeout: float) -> None:
        super().__init__(query, rows, timeout)
        self.batch: Sequence[_WaitingThread] = ()
        self.outcome: Outcome = None
        # Of all primitives, a bare lock wakes a thread fastest.
        self._wakeup = threading.Lock()
        self._wakeup.acquire()

    def wait(self) -> bool:
        """Wait for `wake`; False if the deadline came first."""
        return self._wakeup.acquire(timeout=max(0.0, self.deadline - time.monotonic()))

    def wake(self) -> None:
        """End the wait, once: there is an outcome, or a batch to make the call for."""
        self._wakeup.release()


def _lead(batch: list[_WaitingThread]) -> _WaitingThread | None:
    """Make the request with the latest deadline the leader of its batch."""
    if not batch:
        return None
    leader = max(batch, key=lambda request: request.deadline)
    leader.batch = batch
    return leader


class Batching(BackendWrapper):
    """A backend whose predict calls are shared; thread-safe.

    For signatures that treat each row by itself, such as those that a contract describes. There is
    no batching thread: when a call ends, the leader of the next batch makes the call for all its
    requests, in its own thread.
    """

    def __init__(self, backend: Backend, limits: BatchLimits, observer: Observer) -> None:
        super().__init__(backend)
        self._limits = limits
        self._observer = observer
        self._lock = threading.Lock()
        # A queue exists while calls are in flight or requests wait.
        self._queues: dict[BatchKey, PendingRequests[_WaitingThread]] = {}

    def predict(self, query: Query) -> TensorResponse:
        """See Backend; without a timeout the call is not shared."""
        rows = self._limits.rows_of(query)
        if query.timeout is None or rows is None:
            return self._backend.predict(query)
        key = batch_key(query)
        request = leader = None
        with self._lock:
            queue = self._queues.setdefault(key, PendingRequests(self._limits.of(query.model)))
            if queue.calls < self._limits.max_calls:
                queue.calls += 1
            else:
                request = _WaitingThread(query, rows, query.timeout)
                queue.waiting.append(request)
                leader = _lead(queue.take_batch(only_full=True))
        if request is None:
            try:
                return self._backend.predict(query)
            finally:
                self._end_call(key)
        if leader is not request:
            if leader is not None:
                leader.wake()
            if not request.wait():
                with self._lock:
                    missed = self._queues.get(key)
                    if missed is not None and request in missed.waiting:
                        missed.waiting.remove(request)
        if request.batch:
            self._call(key, request)
        if isinstance(request.outcome, CallError):
            raise request.outcome
        if request.outcome is None:
            return self._backend.predict(replace(query, timeout=request.time_left()))
        return request.outcome

    def _call(self, key: BatchKey, leader: _WaitingThread) -> None:
        """Make the call for a batch, and wake its requests and the next leader."""
        # Not kept: it contains the leader itself.
        batch, leader.batch = leader.batch, ()
        outcomes: Sequence[Outcome] = [None] * len(batch)
        try:
            outcomes = call_together(self._backend.predict, batch, self._observer)
        finally:
            self._end_call(key)
            for request, outcome in zip(batch, outcomes, strict=True):
                request.outcome = outcome
                if request is not leader:
                    request.wake()

    def _end_call(self, key: BatchKey) -> None:
        with self._lock:
            queue = self._queues[key]
            queue.calls -= 1
            leader = _lead(queue.take_batch()) if queue.waiting else None
            if not queue.calls and not queue.waiting:
                del self._queues[key]
        if leader is not None:
            leader.wake()


class _WaitingTask(PendingRequest):
    """A request whose task waits for the outcome, and the context variables of the task."""

    def __init__(
        self, query: Query, rows: int, timeout: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(query, rows, timeout)
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        self.context = contextvars.copy_context()

    def expire(self) -> None:
        """Fail, because the deadline has passed; a late result is discarded."""
        if not self.outcome.done():
            self.outcome.set_exception(late())


class AsyncBatching(BackendWrapper):
    """A backend whose predict calls are shared by the tasks of an event loop.

    A batch is what has arrived when a call may start. A call that is quick, and has nothing to wait
    for, runs on the event loop itself; others run in threads, while the event loop prepares the
    next requests.

    If calls have no core to themselves, they start when the event loop has prepared the requests
    that have arrived: sooner, they would take its processor time, and more of it for each row.
    """

    def __init__(
        self,
        backend: Backend,
        limits: BatchLimits,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
        threads: CallThreads,
    ) -> None:
        """Wrap a backend whose calls run in `threads`, for tasks of an event loop."""
        super().__init__(backend)
        self._limits = limits
        self._observer = observer
        self._loop = loop
        self._threads = threads
        self._turns = _CALM_TURNS if limits.max_calls == 1 else 0
        self._queues: dict[BatchKey, PendingRequests[_WaitingTask]] = {}
        # The seconds that recent calls took for a row, by model.
        self._row_seconds: dict[str, float] = {}

    def predict(self, query: Query) -> TensorResponse:
        """See Backend; for threads other than the event loop's."""
        return asyncio.run_coroutine_threadsafe(self.predict_async(query), self._loop).result()

    async def predict_async(self, query: Query) -> TensorResponse:
        """Predict, in a task of the event loop; without a timeout the call is not shared."""
        rows = self._limits.rows_of(query)
        if query.timeout is None or rows is None:
            return await self._alone(query)
        request = _WaitingTask(query, rows, query.timeout, self._loop)
        key = batch_key(query)
        queue = self._queues.setdefault(key, PendingRequests(self._limits.of(query.model)))
        queue.waiting.append(request)
        self._start_soon(key, queue, before=1)  # at rest, one alone does not wait
        timer = self._loop.call_later(query.timeout, request.expire)
        try:
            outcome = await request.outcome
        finally:
            timer.cancel()
        if isinstance(outcome, CallError):
            raise outcome
        if outcome is None:
            return await self._alone(replace(query, timeout=request.time_left()))
        return outcome

    async def _alone(self, query: Query) -> TensorResponse:
        call = partial(contextvars.copy_context().run, self._backend.predict, query)
        return await self._threads.run(call)

    def _start_soon(self, key: BatchKey, queue: PendingRequests[_WaitingTask], before: int) -> None:
        if not queue.is_due:
            queue.is_due = True
            self._loop.call_soon(self._start_when_calm, key, queue, before, 1)

    def _start_when_calm(
        self, key: BatchKey, queue: PendingRequests[_WaitingTask], before: int, turns: int
    ) -> None:
        """Start calls if a batch is full, or if no request has come in the last turns."""
        waiting, turns = len(queue.waiting), turns - 1
        if waiting > before:
            is_full = sum(request.rows for request in queue.waiting) >= queue.max_rows
            turns = 0 if is_full else self._turns
        if turns > 0 and queue.calls < self._limits.max_calls:
            self._loop.call_soon(self._start_when_calm, key, queue, waiting, turns)
        else:
            queue.is_due = False
            self._start(key)

    def _start(self, key: BatchKey) -> None:
        """Start the calls that are possible now."""
        queue = self._queues.get(key)
        if queue is None:
            return
        queue.waiting = [request for request in queue.waiting if not request.outcome.done()]
        while queue.waiting:
            batch = queue.take_batch(only_full=queue.calls >= self._limits.max_calls)
            if not batch:
                break
            running = self._call_now(batch)
            if running is None:
                call = partial(self._call, batch, on_loop=False)
                running = self._threads.run(partial(batch[0].context.run, call))
            running.add_done_callback(partial(self._end, key, batch))
        if not queue.calls and not queue.waiting:
            del self._queues[key]

    def _call_now(self, batch: list[_WaitingTask]) -> asyncio.Future[list[Outcome]] | None:
        """Make a call on the event loop, if it is quick; else None."""
        seconds = self._row_seconds.get(batch[0].query.model, math.inf)
        if seconds * sum(request.rows for request in batch) > _QUICK_S:
            return None
        done: asyncio.Future[list[Outcome]] = self._loop.create_future()
        try:
            done.set_result(batch[0].context.run(partial(self._call, batch, on_loop=True)))
        except WouldBlockError:
            return None
        except Exception as error:  # any failure is the requests' to handle
            done.set_exception(error)
        return done

    def _call(self, batch: list[_WaitingTask], *, on_loop: bool) -> list[Outcome]:
        predict = self.predict_now if on_loop else self._backend.predict
        began = time.perf_counter()
        outcomes = call_together(predict, batch, self._observer)
        seconds = time.perf_counter() - began
        if not isinstance(outcomes[0], TensorResponse):  # errors are quicker than the model
            return outcomes
        model = batch[0].query.model
        seconds /= sum(request.rows for request in batch) or 1
        if not on_loop:
            # Threads also wait for the event loop, so the quickest of recent calls counts.
            seconds = min(seconds, _SLOWER * self._row_seconds.get(model, math.inf))
        self._row_seconds[model] = seconds
        return outcomes

    def _end(
        self, key: BatchKey, batch: list[_WaitingTask], call: asyncio.Future[list[Outcome]]
    ) -> None:
        queue = self._queues[key]
        queue.calls -= 1
        if self._turns and queue.waiting:
            self._start_soon(key, queue, before=0)
        else:
            self._start(key)
        failure = call.exception()
        outcomes = [None] * len(batch) if failure else call.result()
        for request, outcome in zip(batch, outcomes, strict=True):
            if request.outcome.done():
                continue
            if failure and len(batch) == 1:
                request.outcome.set_exception(failure)
            else:
                request.outcome.set_result(outcome)


@dataclass
class _Silence:
    """Consecutive calls to a model that timed out, and when the next trial may be (monotonic)."""

    calls: int = 0
    next_try: float = 0.0


class CircuitBreaker(BackendWrapper):
    """Reports calls to an observer, and fails fast while a model does not answer; thread-safe.

    Without a connection, gRPC fails fast and reconnects by itself. But it cannot tell a silent
    server from a slow one. So after several consecutive timeouts calls are rejected, except for one
    trial call at a time; the first answer closes the circuit.
    """

    def __init__(self, backend: Backend, observer: Observer, enough: float) -> None:
        """Wrap a backend; timeouts of calls that had less than `enough` seconds do not count."""
        super().__init__(backend)
        self._observer = observer
        self._enough = enough
        self._lock = threading.Lock()
        # Models that were silent just now: usually empty.
        self._silent: dict[str, _Silence] = {}

    def _run(self, method: Callable[[Query], Answer], query: Query) -> Answer:
        model = query.model
        if self._silent and not self._may_try(model):
            self._observer.refused("circuit")
            raise UnavailableError(Code.UNAVAILABLE, f"model {model} does not answer")
        started = time.perf_counter()
        code: Code | None = Code.OK
        try:
            answer = method(query)
        except WouldBlockError:
            code = None
            raise
        except CallError as error:
            code = error.code
            if not isinstance(error, DeadlineExceededError):
                self._silent.pop(model, None)
            elif query.timeout is None or query.timeout >= self._enough:
                with self._lock:
                    silence = self._silent.setdefault(model, _Silence())
                    silence.calls += 1
                    silence.next_try = time.monotonic() + PAUSE_S
            raise
        else:
            if self._silent:
                self._silent.pop(model, None)
            return answer
        finally:
            if code is not None:
                seconds = time.perf_counter() - started
                name = method.__name__.removesuffix("_now")
                self._observer.called(Call(name, model, _rows(query), seconds, code))

    def _may_try(self, model: str) -> bool:
        with self._lock:
            silence, now = self._silent.get(model), time.monotonic()
            if silence is None or silence.calls < FAILURES:
                return True
            if now < silence.next_try:
                return False
            silence.next_try = now + PAUSE_S
            return True


def _rows(query: Query) -> int:
    """Number of examples; for predict, the rows of the first input, where a scalar is one."""
    if query.examples is not None:
        lists = (query.examples.example_list, query.examples.example_list_with_context)
        return sum(len(each.examples) for each in lists)
    for first in query.inputs.values():
        return len(first) if first.ndim else 1
    return 0


class LazyBackend(BackendWrapper):
    """A backend that is created by its first call; thread-safe."""

    def __init__(self, create: Callable[[], Backend]) -> None:
        self._create = create
        self._created: Backend | None = None
        self._lock = threading.Lock()

    @property
    def _backend(self) -> Backend:  # type: ignore[override]
        with self._lock:
            if self._created is None:
                self._created = self._create()
            return self._created

    def close(self) -> None:
        """See Backend."""
        if self._created is not None:
            self._created.close()
