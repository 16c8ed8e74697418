"""The threads that run batches, shared by all models and versions."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from rockstar_serving.model_server.batching.batch_queue import Batch, BatchQueue
from rockstar_serving.model_server.batching.task import Task


@dataclass
class _Pool:
    """Threads that stop together."""

    threads: list[threading.Thread] = field(default_factory=list)
    stopped: bool = False


class Scheduler:
    """Serves queues in turn, one batch at a time, so many batches at once as it has threads.

    Where nothing waits and a thread is free, the caller's own thread runs the batch in its place,
    which saves two changes of thread. The threads live while a queue is attached. One without work
    sleeps until there is some, or until the oldest batch has waited long enough.
    """

    def __init__(self, threads: int, name: str) -> None:
        """Make a scheduler.

        Args:
            threads: batches that run at once.
            name: of the threads, for those who look at a running process.
        """
        self._threads = threads
        self._name = name
        self._attached = 0
        self._running = 0
        self._pool = _Pool()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._done = threading.Condition(self._lock)
        # The queues in which batches wait; it is the first one's turn.
        self._waiting: deque[BatchQueue] = deque()

    def attach(self) -> None:
        """Serve one more queue; undone with detach()."""
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
        """Run what waits in a queue, and serve it no more."""
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
            alone, waited = not self._waiting, len(queue)
            parts, news = queue.add(task)
            if not waited:
                self._waiting.append(queue)
            found = self._take() if alone else None
            if found is None:
                self._wake(news)
        if found is not None:
            self._run(*found)
            with self._lock:
                if self._waiting:
                    self._wake(1)
        return parts

    def _serve(self, pool: _Pool) -> None:
        # A call of its own for each batch, so that a waiting thread keeps no arrays alive.
        while self._serve_one(pool):
            pass

    def _serve_one(self, pool: _Pool) -> bool:
        with self._lock:
            while (found := self._take()) is None:
                if pool.stopped:
                    return False
                self._work.wait(self._seconds_to_wait())
        self._run(*found)
        return True

    def _take(self) -> tuple[BatchQueue, Batch] | None:
        """The next batch to run; None where none is due or all threads are busy."""
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
                    # Who takes it may have been the one that kept an eye on the clock.
                    self._wake(1)
                return queue, batch
        return None

    def _wake(self, threads: int) -> None:
        # While all are busy there is nothing to wake for: who gets done looks around.
        if self._running < self._threads:
            self._work.notify(threads)

    def _run(self, queue: BatchQueue, batch: Batch) -> None:
        try:
            queue.process(batch.tasks)
        except Exception as error:
            # Whatever it ran into: nobody may wait for ever.
            for task in batch.tasks:
                task.fail(error)
        finally:
            with self._lock:
                self._running -= 1
                queue.running -= 1
                self._done.notify_all()

    def _seconds_to_wait(self) -> float | None:
        if not self._waiting or self._running == self._threads:
            return None
        return max(0.0, min(queue.due() for queue in self._waiting) - time.monotonic())
