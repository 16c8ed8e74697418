"""The thread that checks model folders and loads and unloads versions."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent import futures
from functools import partial

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.models.model import Model
from rockstar_serving.model_server.models.servables import Task
from rockstar_serving.model_server.models.version_folders import NEVER
from rockstar_serving.model_server.options import LoadOptions
from tfs_api.status import Code, StatusError

log = logging.getLogger(__name__)

# How long a stop waits for versions that are being loaded or unloaded.
_STOP_SECONDS = 2.0
# How often a wait checks that its caller is still there.
_CHECK_SECONDS = 1.0


class _Workers:
    """Runs tasks on its own threads, or without threads whenever run_waiting() is called."""

    def __init__(self, threads: int, name: str, wake: Callable[[], None]) -> None:
        """Create the threads.

        Args:
            threads: number of threads; 0: tasks wait for run_waiting().
            name: of the threads.
            wake: called when there is a task for run_waiting().
        """
        self._pool = futures.ThreadPoolExecutor(threads, name) if threads else None
        self._wake = wake
        self._waiting: deque[Task] = deque()
        self._running: set[futures.Future[None]] = set()

    def put(self, task: Task) -> None:
        """Run a task, which handles its own errors."""
        if self._pool is None:
            self._waiting.append(task)
            self._wake()
            return
        future = self._pool.submit(task)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def run_waiting(self) -> None:
        """Run the waiting tasks, one after another."""
        while self._waiting:
            self._waiting.popleft()()

    @property
    def idle(self) -> bool:
        """Whether no task waits or runs."""
        return not self._waiting and not self._running

    def cancel_waiting(self) -> None:
        """Drop all tasks that have not begun, and accept no more."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self, seconds: float) -> bool:
        """Wait for running tasks; returns whether all have ended."""
        return not futures.wait(set(self._running), seconds).not_done


class LifecycleManager:
    """Checks the folders of models periodically, and loads and unloads versions as planned."""

    def __init__(self, options: LoadOptions, initial_threads: int) -> None:
        """Create a manager; start() starts its thread.

        Args:
            options: when to check, and how many threads load and unload.
            initial_threads: number of threads that load until end_initial_load() is called.
        """
        self._options = options
        self._models: tuple[Model, ...] = ()
        self._next_look = 0.0
        self._woken = threading.Event()
        self._planned = threading.Condition()
        self._stopping = self._closed = self._initial_load_ended = False
        self._loaders = _Workers(initial_threads, "load", self._woken.set)
        self._unloaders = _Workers(options.unload_threads, "unload", self._woken.set)
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def manage(self, models: Iterable[Model]) -> None:
        """Manage these models from now on; newly configured ones are checked at once."""
        self._models = tuple(models)
        self._woken.set()

    def wait(self, done: Callable[[], bool], deadline: Deadline = NO_DEADLINE) -> None:
        """Wait until a condition is true, checking it after each plan.

        Raises:
            StatusError: DEADLINE_EXCEEDED; CANCELLED, the caller is gone; UNAVAILABLE, the server
                is stopping.
        """
        with self._planned:
            while not self._stopping and not done():
                deadline.check()
                left = deadline.remaining()
                self._planned.wait(_CHECK_SECONDS if left is None else min(left, _CHECK_SECONDS))
        if self._stopping:
            raise StatusError(Code.UNAVAILABLE, "the server is stopping")

    def wake(self) -> None:
        """Plan again at once."""
        self._woken.set()

    def end_initial_load(self) -> None:
        """Load with the number of threads set in the options from now on."""
        self._initial_load_ended = True
        self._woken.set()

    def unload(self, task: Task) -> None:
        """Run a task that closes an engine."""
        if self._closed:
            task()
        else:
            self._unloaders.put(task)

    def stop(self) -> bool:
        """Stop checking and loading.

        Returns:
            Whether no version is still being loaded.
        """
        self._stopping = True
        self._woken.set()
        with self._planned:
            self._planned.notify_all()
        until = time.monotonic() + _STOP_SECONDS
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)
        self._loaders.cancel_waiting()
        loaded = self._loaders.join(max(0.0, until - time.monotonic()))
        return loaded and not self._thread.is_alive()

    def close(self) -> None:
        """Finish the tasks given to unload(); call it after stop()."""
        self._closed = True
        self._unloaders.run_waiting()
        self._unloaders.join(_STOP_SECONDS)
        self._unloaders.cancel_waiting()

    def _run(self) -> None:
        while not self._stopping:
            wait = self._step()
            self._woken.wait(None if wait == NEVER else min(wait, threading.TIMEOUT_MAX))
            self._woken.clear()

    def _step(self) -> float:
        """Check and plan all models; returns the seconds until the next step."""
        # Here, because only this thread puts tasks into the pool that is replaced.
        if self._initial_load_ended and self._loaders.idle:
            self._initial_load_ended = False
            self._loaders.cancel_waiting()
            self._loaders = _Workers(self._options.load_threads, "load", self._woken.set)
        now = time.monotonic()
        look = now >= self._next_look
        if look:
            self._next_look = now + (self._options.poll_seconds or NEVER)
        wait = self._next_look - now
        for model in self._models:
            try:
                if look or model.stale:
                    model.look()
                tasks, seconds = model.plan()
            except Exception:
                # The other models must go on, whatever happened to the folder of this one.
                log.exception("model %s: looking for versions failed", model.name)
                continue
            wait = min(wait, seconds)
            for task in tasks:
                self._loaders.put(partial(self._load, task))
        with self._planned:
            self._planned.notify_all()
        self._unloaders.run_waiting()
        self._loaders.run_waiting()
        return wait

    def _load(self, task: Task) -> None:
        if not self._stopping:
            task()
        self._woken.set()
