"""Threads that load or unload versions, or none: then one thread does that besides."""

from collections import deque
from collections.abc import Callable
from concurrent import futures

from rockstar_serving.model_server.models.servable import Task


class Workers:
    """Runs tasks on threads of its own; where there are none, on whoever calls work()."""

    def __init__(self, threads: int, name: str, called: Callable[[], None]) -> None:
        """Make a pool.

        Args:
            threads: how many; 0: tasks wait for work().
            name: of the threads.
            called: told that there is something for work().
        """
        self._pool = futures.ThreadPoolExecutor(threads, name) if threads else None
        self._called = called
        self._waiting: deque[Task] = deque()
        self._running: set[futures.Future[None]] = set()

    def put(self, task: Task) -> None:
        """Have a task done; it reports its own errors."""
        if self._pool is None:
            self._waiting.append(task)
            self._called()
            return
        future = self._pool.submit(task)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def work(self) -> None:
        """Do what waits, one after another."""
        while self._waiting:
            self._waiting.popleft()()

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._waiting and not self._running

    def drop(self) -> None:
        """Forget what has not begun."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def wait(self, seconds: float) -> bool:
        """Whether nothing runs any more, after at most some seconds."""
        return not futures.wait(set(self._running), seconds).not_done
