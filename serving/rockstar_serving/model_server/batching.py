"""Batching: waiting requests for the same signature of a version run together.

Which requests can share a batch and which are rejected is as in TensorFlow Serving's
`batching_session.cc`; queues and threads are as in TensorFlow's SharedBatchScheduler. Rows are the
first dimension of arrays.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.batching_parameters import (
    FIELDS,
    POOL_FIELDS,
    QueueParameters,
    read_parameters,
)
from rockstar_serving.model_server.deadline import (
    NO_DEADLINE,
    Deadline,
    DeadlinePassedError,
    WouldBlockError,
)
from rockstar_serving.model_server.engines.engine import (
    Arrays,
    Engine,
    EngineWrapper,
    LoadError,
    Outputs,
)
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.options import BatchingOptions
from tfs_api.status import Code, StatusError, invalid

if TYPE_CHECKING:
    from rockstar_serving.model_server.monitoring import BatchingMetrics

log = logging.getLogger(__name__)

PARAMETERS_FILE = "batching_params.pbtxt"  # in a version folder
# The largest rank of an input whose dimensions after the first are padded.
_MAX_PADDED_RANK = 6


@dataclass(eq=False, slots=True)
class Task:
    """A request that waits for its batch, or a part of a large request.

    Attributes:
        feeds: inputs, with `rows` rows each.
        fetches: names of the outputs.
        rows: number of rows.
        key: equal for tasks that may share a batch.
        deadline: a task that has not begun by then is not run.
        enqueued: time on the clock of time.monotonic(), in seconds.
        outputs: the result; cancelled if the caller left before the task was run.
    """

    feeds: Arrays
    fetches: list[str]
    rows: int
    key: Hashable
    deadline: Deadline
    enqueued: float = field(default_factory=time.monotonic)
    outputs: Future[Outputs] = field(default_factory=Future)

    def split(self, sizes: Sequence[int]) -> "list[Task]":
        """Split it into parts with these numbers of rows, which add up to all of its rows."""
        if len(sizes) == 1:
            return [self]
        return [
            Task(
                {name: array[stop - rows : stop] for name, array in self.feeds.items()},
                self.fetches,
                rows,
                self.key,
                self.deadline,
                self.enqueued,
            )
            for rows, stop in zip(sizes, np.cumsum(sizes).tolist(), strict=True)
        ]

    def result(self) -> Outputs:
        """The outputs, or raises the error, of a task that has ended; to be called once.

        An error refers to the frames it passed through, and these to this task. If the task kept
        the error too, its arrays would stay in memory until the next garbage collection.
        """
        future = self.outputs
        try:
            del self.outputs
            return future.result()
        finally:
            del future


def wait_for_outputs(parts: Sequence[Task], deadline: Deadline) -> Outputs:
    """Wait for the parts of a request and concatenate their outputs.

    Raises:
        DeadlinePassedError: the deadline passed before all parts had begun.
        Exception: raised by a part.
    """
    try:
        for part in parts:
            part.outputs.exception(deadline.remaining())
    except TimeoutError:
        begun = [part.outputs for part in parts if not part.outputs.cancel()]
        wait(begun)  # because the caller keeps the engine loaded
        if len(begun) < len(parts):
            raise DeadlinePassedError from None
    results = [part.result() for part in parts]
    if len(results) == 1:
        return results[0]
    return {name: np.concatenate([each[name] for each in results]) for name in parts[0].fetches}


@dataclass
class Batch:
    """Tasks with equal keys that run together, and their number of rows."""

    tasks: list[Task]
    rows: int

    @property
    def started(self) -> float:
        """When its first task was enqueued, on the clock of time.monotonic(), in seconds."""
        return self.tasks[0].enqueued


class BatchQueue:
    """The waiting batches of one signature; guarded by the scheduler's lock.

    Attributes:
        process: runs the tasks of a batch and sets their outputs.
        running: number of batches that have been taken and are not done.
        closed: whether no more tasks will come, so that no batch waits for more.
    """

    def __init__(
        self, parameters: QueueParameters, process: Callable[[Sequence[Task]], None]
    ) -> None:
        self.process = process
        self.running = 0
        self.closed = False
        self._parameters = parameters
        self._timeout = parameters.batch_timeout_micros / 1e6
        # Full batches, and by key those with room; the oldest first in both.
        self._full: deque[Batch] = deque()
        self._open: dict[Hashable, Batch] = {}

    def __len__(self) -> int:
        """The number of waiting batches."""
        return len(self._full) + len(self._open)

    def add(self, task: Task) -> tuple[list[Task], int]:
        """Put a task into a batch, or its parts into several.

        Returns:
            The parts (only the task itself if it is not split), and the number of batches that were
            begun or filled.

        Raises:
            StatusError: INVALID_ARGUMENT, the task is too large; UNAVAILABLE, the queue is full.
        """
        parameters = self._parameters
        size, most = parameters.execution_batch_size, parameters.max_enqueued_batches
        if self.closed:
            raise StatusError(Code.UNAVAILABLE, "this version is being unloaded")
        if task.rows > parameters.max_batch_size:
            raise invalid(
                f"Task size {task.rows} is larger than maximum input batch size "
                f"{parameters.max_batch_size}"
            )
        room = self._room(task.key)
        full = "The batch scheduling queue to which this task was submitted is full; "
        if not parameters.split:
            if task.rows > room and len(self) >= most:
                raise StatusError(
                    Code.UNAVAILABLE,
                    f"{full}currently {len(self)} batches enqueued and max_enqueued_batches is "
                    f"{most}",
                )
            return [task], self._place(task)
        capacity = room + max(0, most - len(self)) * size
        if task.rows > capacity:
            raise StatusError(
                Code.UNAVAILABLE,
                f"{full}task size is {task.rows} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={len(self)}, max_enqueued_batches={most}, "
                f"open_batch_size={size - room if room else 0}, max_execution_batch_size={size})",
            )
        sizes = [min(room, task.rows)] if room else []
        sizes += [min(size, task.rows - start) for start in range(sum(sizes), task.rows, size)]
        parts = task.split(sizes)
        return parts, sum(self._place(part) for part in parts)

    def due(self) -> float:
        """When the next batch can be taken, on the clock of time.monotonic(); only if not empty."""
        if self._full or self.closed:
            return float("-inf")
        return self._oldest_open().started + self._timeout

    def take(self, now: float) -> Batch | None:
        """Remove and return the oldest batch that is full or has waited long enough, if any."""
        batch = self._oldest_open() if self._open else None
        if batch is not None and not self.closed and now < batch.started + self._timeout:
            batch = None
        if self._full and (batch is None or self._full[0].started <= batch.started):
            return self._full.popleft()
        if batch is not None:
            del self._open[batch.tasks[0].key]
        return batch

    def _oldest_open(self) -> Batch:
        return next(iter(self._open.values()))

    def _room(self, key: Hashable) -> int:
        """The number of rows that still fit into the open batch of a key; 0 if there is none."""
        batch = self._open.get(key)
        return self._parameters.execution_batch_size - batch.rows if batch else 0

    def _place(self, task: Task) -> int:
        """Put a task into a batch; returns the number of batches begun or filled."""
        news = 0
        batch = self._open.get(task.key)
        if task.rows <= self._room(task.key) and batch:
            batch.tasks.append(task)
            batch.rows += task.rows
        else:
            if batch:
                self._full.append(self._open.pop(task.key))
            self._open[task.key] = Batch([task], task.rows)
            news = 2 if batch else 1
        if self._room(task.key) == 0:
            self._full.append(self._open.pop(task.key))
            news += 1
        return news


class Scheduler:
    """Runs the batches of all models and versions: queues in turn, one batch per thread.

    If nothing waits and a thread is free, the caller's own thread runs the batch, which saves two
    thread switches. The threads live while a queue is attached. An idle thread sleeps until there
    is a batch, or until the oldest one has waited long enough.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._attached = 0
        self._running = 0
        # The current threads; those of an earlier list stop.
        self._pool: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._done = threading.Condition(self._lock)
        # The queues with waiting batches, in turn.
        self._waiting: deque[BatchQueue] = deque()

    def attach(self) -> None:
        """Prepare for one more queue, starting the threads for the first; undone by detach()."""
        with self._lock:
            self._attached += 1
            if self._attached > 1:
                return
            pool: list[threading.Thread] = []
            self._pool = pool
            for number in range(self._threads):
                name = f"{self._name}_{number}"
                thread = threading.Thread(target=self._serve, args=(pool,), name=name, daemon=True)
                pool.append(thread)
                thread.start()

    def detach(self, queue: BatchQueue) -> None:
        """Close a queue and run what waits in it; the last one stops the threads."""
        with self._lock:
            queue.closed = True
            self._work.notify(len(queue))
            while len(queue) or queue.running:
                self._done.wait()
            self._attached -= 1
            if self._attached:
                return
            pool, self._pool = self._pool, []
            self._work.notify_all()
        for thread in pool:
            thread.join()

    def submit(self, queue: BatchQueue, task: Task) -> list[Task]:
        """Put a task into a queue; returns its parts, to wait for. Raises as BatchQueue.add()."""
        with self._lock:
            idle, waited = not self._waiting, len(queue)
            parts, news = queue.add(task)
            if not waited:
                self._waiting.append(queue)
            found = self._take() if idle else None
            if found is None:
                self._wake(news)
        if found is not None:
            self._run(*found)
            with self._lock:
                if self._waiting:
                    self._wake(1)
        return parts

    def _serve(self, pool: list[threading.Thread]) -> None:
        while True:
            with self._lock:
                while (found := self._take()) is None:  # a waiting thread keeps no arrays in memory
                    if self._pool is not pool:
                        return
                    wait = None
                    if self._waiting and self._running < self._threads:
                        due = min(queue.due() for queue in self._waiting)
                        wait = max(0.0, due - time.monotonic())
                    self._work.wait(wait)
            self._run(*found)

    def _take(self) -> tuple[BatchQueue, Batch] | None:
        """The next batch to run; None if none is due or all threads are busy."""
        if self._running == self._threads:
            return None
        now = time.monotonic()
        for _ in range(len(self._waiting)):
            queue = self._waiting.popleft()
            batch = queue.take(now)
            if len(queue):
                self._waiting.append(queue)
            if batch is not None:
                self._running += 1
                queue.running += 1
                if self._waiting:
                    # This may be the thread that was waiting for the next timeout.
                    self._wake(1)
                return queue, batch
        return None

    def _wake(self, threads: int) -> None:
        # While all threads are busy, there is none to wake: each looks for work when it is done.
        if self._running < self._threads:
            self._work.notify(threads)

    def _run(self, queue: BatchQueue, batch: Batch) -> None:
        try:
            queue.process(batch.tasks)
        except Exception as error:  # without this, the callers would wait forever
            for task in batch.tasks:
                with contextlib.suppress(InvalidStateError, AttributeError):  # it has ended
                    task.outputs.set_exception(error)
        finally:
            with self._lock:
                self._running -= 1
                queue.running -= 1
                self._done.notify_all()


def version_parameters(options: BatchingOptions, folder: Path) -> QueueParameters | None:
    """Read how to batch a version; None: not at all. Raises LoadError if its file is invalid.

    With parameters per model, a version without a file is not batched, as in TensorFlow Serving.
    """
    if not options.enabled:
        return None
    if not options.per_model:
        return options.parameters.queue
    path = folder / PARAMETERS_FILE
    if not path.is_file():
        return None
    try:
        return read_parameters(path, FIELDS - POOL_FIELDS).queue
    except ConfigError as error:
        raise LoadError(str(error)) from error


class BatchingEngine(EngineWrapper):
    """Batches the requests to one version, with a queue for each signature.

    If a batch fails, each of its requests runs alone, so that an invalid request does not fail the
    others.
    """

    def __init__(
        self,
        engine: Engine,
        scheduler: Scheduler,
        parameters: QueueParameters,
        observer: "BatchingMetrics | None" = None,
    ) -> None:
        super().__init__(engine)
        self.name = f"{engine.name} with batching"
        self._scheduler = scheduler
        self._parameters = parameters
        self._observer = observer
        self._queues = {
            name: BatchQueue(parameters, partial(self._process, name)) for name in engine.signatures
        }
        for _ in self._queues:
            scheduler.attach()

    def run(
        self, signature: str, feeds: Arrays, fetches: list[str], deadline: Deadline = NO_DEADLINE
    ) -> Outputs:
        """Run a signature, together with other requests if possible; see Engine.

        Raises:
            StatusError: also INVALID_ARGUMENT, the feeds are too large or differ in their number of
                rows; FAILED_PRECONDITION, an output has another number of rows; UNAVAILABLE, the
                queue is full.
        """
        pad_lengths = self._parameters.pad_variable_length_inputs
        rows = _count_rows(feeds, pad_lengths=pad_lengths)
        if not rows:
            return self.engine.run(signature, feeds, fetches, deadline)
        if not deadline.may_block:
            raise WouldBlockError
        if self._observer is not None:
            self._observer.input_batch_size(rows)
        key = (
            frozenset(fetches),
            frozenset(
                (name, array.dtype, array.ndim if pad_lengths else array.shape[1:])
                for name, array in feeds.items()
            ),
        )
        task = Task(feeds, fetches, rows, key, deadline)
        return wait_for_outputs(self._scheduler.submit(self._queues[signature], task), deadline)

    def close(self) -> None:
        """Run the waiting requests, then close the engine."""
        for queue in self._queues.values():
            self._scheduler.detach(queue)
        self.engine.close()

    def _process(self, signature: str, tasks: Sequence[Task]) -> None:
        now = time.monotonic()
        claimed = []
        for task in tasks:
            if not task.outputs.set_running_or_notify_cancel():
                continue  # its caller has left
            if self._observer is not None:
                self._observer.queuing_latency((now - task.enqueued) * 1e6)
            if now > task.deadline.moment:
                task.outputs.set_exception(DeadlinePassedError())
            else:
                claimed.append(task)
        if claimed:
            self._run_together(signature, claimed)

    def _run_together(self, signature: str, tasks: Sequence[Task]) -> None:
        rows = sum(task.rows for task in tasks)
        padding = self._parameters.padded(rows) - rows
        if self._observer is not None:
            self._observer.processed_batch_size(rows + padding, padding)
        try:
            feeds = tasks[0].feeds
            if len(tasks) > 1 or padding:
                pad_lengths = self._parameters.pad_variable_length_inputs
                feeds = _merge(tasks, padding, pad_lengths=pad_lengths)
            # The latest deadline: the other callers may get their results late rather than never.
            deadline = max((task.deadline for task in tasks), key=lambda each: each.moment)
            outputs = self.engine.run(signature, feeds, tasks[0].fetches, deadline)
            _check_rows(outputs, rows + padding)
        except Exception as error:  # of any kind: it belongs to the callers, not to this thread
            if len(tasks) == 1:
                tasks[0].outputs.set_exception(error)
                return
            log.warning(
                "signature %s: a batch of %d requests failed, each is run alone: %s",
                *(signature, len(tasks), repr(error)),
            )
            for task in tasks:
                self._run_together(signature, [task])
            return
        stop = 0
        for task in tasks:
            start, stop = stop, stop + task.rows
            # Views keep the outputs of the batch in memory, but only until the response is sent.
            task.outputs.set_result({name: outputs[name][start:stop] for name in task.fetches})


def _count_rows(feeds: Arrays, *, pad_lengths: bool) -> int:
    """Count the rows of a request, which must be the same in all inputs."""
    if not feeds:
        raise invalid("Batching Run() must have at least one input tensor")
    ranks = [array.ndim for array in feeds.values()]
    if not all(ranks):
        raise invalid("Batching Run() input tensors must have at least one dimension")
    rows, *others = {len(array) for array in feeds.values()}
    if others:
        raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    if pad_lengths and max(ranks) > _MAX_PADDED_RANK:
        raise invalid(f"Only tensors with rank from 1 to {_MAX_PADDED_RANK} can be padded.")
    return rows


def _merge(tasks: Sequence[Task], padding: int, *, pad_lengths: bool) -> Arrays:
    """Concatenate the feeds of all tasks, and `padding` times the first row of the last task.

    With pad_lengths, arrays are padded to the largest size of each dimension after the first, with
    their first element.
    """
    merged = {}
    for name in tasks[0].feeds:
        arrays = [task.feeds[name] for task in tasks]
        if pad_lengths:
            sizes = zip(*(array.shape[1:] for array in arrays), strict=True)
            lengths = tuple(map(max, sizes))
            arrays = [_pad(array, lengths) for array in arrays]
        last = arrays[-1]
        filling = np.broadcast_to(last[:1], (padding, *last.shape[1:]))
        merged[name] = np.concatenate([*arrays, filling])
    return merged


def _pad(array: NDArray[Any], lengths: tuple[int, ...]) -> NDArray[Any]:
    if array.shape[1:] == lengths:
        return array
    if not array.size:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    result = np.empty((len(array), *lengths), array.dtype)
    result.fill(array.flat[0])  # np.full() cuts NULs off the ends of strings
    result[tuple(slice(size) for size in array.shape)] = array
    return result


def _check_rows(outputs: Arrays, rows: int) -> None:
    for name, array in outputs.items():
        if array.shape[:1] == (rows,):
            continue
        message = "Batched output tensor has 0 dimensions"
        if array.ndim:
            message = (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
                "sizes of the input tensors"
            )
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f"{message}: output {name!r} of {rows} rows has the shape {list(array.shape)}; serve "
            "the model without batching",
        )
