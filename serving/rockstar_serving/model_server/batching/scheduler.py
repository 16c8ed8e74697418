"""Batch queues and the threads that run their batches, as in TensorFlow's SharedBatchScheduler."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.batching.parameters import QueueParameters
from rockstar_serving.model_server.deadline import Deadline, DeadlineExceededError
from tfs_api.status import Code, StatusError

Arrays = Mapping[str, NDArray[Any]]


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
        outputs: result, once there is one.
    """

    feeds: Arrays
    fetches: Sequence[str]
    rows: int
    key: Hashable
    deadline: Deadline
    enqueued: float = field(default_factory=time.monotonic)
    outputs: dict[str, NDArray[Any]] = field(default_factory=dict)
    _claim: threading.Lock = field(default_factory=threading.Lock)
    _done: threading.Event = field(default_factory=threading.Event)
    _error: Exception | None = None

    def split(self, sizes: Sequence[int]) -> "list[Task]":
        """Split it into parts with these numbers of rows, which add up to all of its rows."""
        if len(sizes) == 1:
            return [self]
        stops = np.cumsum(sizes).tolist()
        return [
            Task(
                {name: array[stop - rows : stop] for name, array in self.feeds.items()},
                *(self.fetches, rows, self.key, self.deadline, self.enqueued),
            )
            for rows, stop in zip(sizes, stops, strict=True)
        ]

    def claim(self) -> bool:
        """Claim the task, to run it or to abandon it; only the first claim returns True.

        The caller of a running task waits for its end, because it keeps the engine loaded.
        """
        return self._claim.acquire(blocking=False)

    def set_outputs(self, outputs: dict[str, NDArray[Any]]) -> None:
        """End it with outputs."""
        self.outputs = outputs
        self._done.set()

    def set_error(self, error: Exception) -> None:
        """End it with an error."""
        self._error = error
        self._done.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; returns whether it has ended."""
        return self._done.wait(seconds)

    def take_error(self) -> Exception | None:
        """Remove and return its error, if it has one.

        An error refers to the frames it passed through, and these to this task. If the task kept
        the error too, its arrays would stay in memory until the next garbage collection.
        """
        error, self._error = self._error, None
        return error


def wait_for_outputs(parts: Sequence[Task], deadline: Deadline) -> dict[str, NDArray[Any]]:
    """Wait for the parts of a request and concatenate their outputs.

    Raises:
        DeadlineExceededError: the deadline passed before all parts had begun.
        Exception: raised by a part.
    """
    in_time = all(part.wait(deadline.remaining()) for part in parts)
    # As without batching, a part that has begun is waited for.
    abandoned = [] if in_time else [part for part in parts if part.claim()]
    for part in parts:
        if part not in abandoned:
            part.wait()
    errors = list(filter(None, [part.take_error() for part in parts]))
    if abandoned:
        raise DeadlineExceededError
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # see take_error()
    if len(parts) == 1:
        return parts[0].outputs
    return {
        name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].fetches
    }


@dataclass
class Batch:
    """Tasks that run together.

    Attributes:
        tasks: with equal keys.
        started: when the first task was enqueued, on the clock of time.monotonic(), in seconds.
        rows: of all tasks.
    """

    tasks: list[Task]
    started: float
    rows: int


class BatchQueue:
    """The waiting batches of one signature; guarded by the scheduler's lock.

    Attributes:
        process: runs the tasks of a batch; raises nothing and ends each of them.
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
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Task size {task.rows} is larger than maximum input batch size "
                f"{parameters.max_batch_size}",
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
        if task.rows > self._room(task.key):
            if task.key in self._open:
                self._full.append(self._open.pop(task.key))
                news += 1
            self._open[task.key] = Batch([task], task.enqueued, task.rows)
            news += 1
        else:
            batch = self._open[task.key]
            batch.tasks.append(task)
            batch.rows += task.rows
        if self._room(task.key) == 0:
            self._full.append(self._open.pop(task.key))
            news += 1
        return news


@dataclass
class _Pool:
    """Threads that stop together."""

    threads: list[threading.Thread] = field(default_factory=list)
    stopped: bool = False


class Scheduler:
    """Runs the batches of all models and versions: queues in turn, one batch per thread.

    If nothing waits and a thread is free, the caller's own thread runs the batch, which saves two
    thread switches. The threads live while a queue is attached. An idle thread sleeps until there
    is a batch, or until the oldest one has waited long enough.
    """

    def __init__(self, threads: int, name: str) -> None:
        """Create a scheduler without threads.

        Args:
            threads: number of batches that run at once.
            name: of the threads, for debugging.
        """
        self._threads = threads
        self._name = name
        self._attached = 0
        self._running = 0
        self._pool = _Pool()
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
            self._pool = pool = _Pool()
            pool.threads += [
                threading.Thread(
                    target=self._serve, args=(pool,), name=f"{self._name}_{number}", daemon=True
                )
                for number in range(self._threads)
            ]
            for thread in pool.threads:
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
            pool = self._pool
            pool.stopped = True
            self._work.notify_all()
        for thread in pool.threads:
            thread.join()

    def submit(self, queue: BatchQueue, task: Task) -> list[Task]:
        """Put a task into a queue.

        Returns:
            Its parts, to wait for.

        Raises:
            StatusError: see BatchQueue.add().
        """
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

    def _serve(self, pool: _Pool) -> None:
        # One call per batch, so that a waiting thread keeps no arrays in memory.
        while self._serve_one(pool):
            pass

    def _serve_one(self, pool: _Pool) -> bool:
        with self._lock:
            while (found := self._take()) is None:
                if pool.stopped:
                    return False
                wait = None
                if self._waiting and self._running < self._threads:
                    due = min(queue.due() for queue in self._waiting)
                    wait = max(0.0, due - time.monotonic())
                self._work.wait(wait)
        self._run(*found)
        return True

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
        except Exception as error:
            # Whatever happened, no caller may wait forever.
            for task in batch.tasks:
                task.set_error(error)
        finally:
            with self._lock:
                self._running -= 1
                queue.running -= 1
                self._done.notify_all()
