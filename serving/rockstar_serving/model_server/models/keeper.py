"""The thread that keeps models as they should be: it looks at folders, and has versions loaded."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.models.failures import NEVER
from rockstar_serving.model_server.models.model import Model
from rockstar_serving.model_server.models.servable import Task
from rockstar_serving.model_server.models.workers import Workers
from rockstar_serving.model_server.options import LoadOptions
from tfs_api.status import Code, StatusError

log = logging.getLogger(__name__)

# How long a stop waits for versions that are just being loaded or unloaded.
_STOP_SECONDS = 2.0
# How often a wait makes sure that its caller is still there.
_CHECK_SECONDS = 1.0


class Keeper:
    """Looks at the folders of models from time to time, and acts on what their plans say."""

    def __init__(self, options: LoadOptions, initial_threads: int) -> None:
        """Make one that rests until start().

        Args:
            options: when to look, and how many threads load and unload.
            initial_threads: that load until loaded_first() says that the first load is over.
        """
        self._options = options
        self._models: tuple[Model, ...] = ()
        self._next_look = 0.0
        self._woken = threading.Event()
        self._planned = threading.Condition()
        self._stopping = self._closed = self._started = False
        self._loaders = Workers(initial_threads, "load", self._woken.set)
        self._unloaders = Workers(options.unload_threads, "unload", self._woken.set)
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def keep(self, models: Iterable[Model]) -> None:
        """Look after these models from now on; those that are configured anew, at once."""
        self._models = tuple(models)
        self._woken.set()

    def wait(self, done: Callable[[], bool], deadline: Deadline = NO_DEADLINE) -> None:
        """Return when something is true of the models, which may change with every plan.

        Raises:
            StatusError: DEADLINE_EXCEEDED; CANCELLED, the caller is gone; or UNAVAILABLE, it was
                stopped meanwhile.
        """
        with self._planned:
            while not self._stopping and not done():
                deadline.check()
                left = deadline.remaining()
                self._planned.wait(_CHECK_SECONDS if left is None else min(left, _CHECK_SECONDS))
        if self._stopping:
            raise StatusError(Code.UNAVAILABLE, "the server is stopping")

    def wake(self) -> None:
        """Plan again at once, and look where a model asks for that."""
        self._woken.set()

    def loaded_first(self) -> None:
        """The first load is over: versions are loaded as the options say from now on."""
        self._started = True
        self._woken.set()

    def unload(self, task: Task) -> None:
        """Run what closes an engine."""
        if self._closed:
            task()
        else:
            self._unloaders.put(task)

    def stop(self) -> bool:
        """Look and load no more.

        Returns:
            Whether nothing is being loaded any more.
        """
        self._stopping = True
        self._woken.set()
        with self._planned:
            self._planned.notify_all()
        until = time.monotonic() + _STOP_SECONDS
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)
        self._loaders.drop()
        return (
            self._loaders.wait(max(0.0, until - time.monotonic())) and not self._thread.is_alive()
        )

    def close(self) -> None:
        """After a stop: finish what unload() was given."""
        self._closed = True
        self._unloaders.work()
        self._unloaders.wait(_STOP_SECONDS)
        self._unloaders.drop()

    def _run(self) -> None:
        while not self._stopping:
            wait = self._step()
            self._woken.wait(None if wait == NEVER else min(wait, threading.TIMEOUT_MAX))
            self._woken.clear()

    def _step(self) -> float:
        """Do what is to be done now; gives the seconds until there is more unasked."""
        self._use_own_threads()
        now = time.monotonic()
        look = now >= self._next_look
        if look:
            self._next_look = now + (self._options.poll_seconds or NEVER)
        wait = self._next_look - now
        for model in self._models:
            try:
                wait = min(wait, self._keep(model, look=look))
            except Exception:
                # The others must go on, whatever the folder of one led to.
                log.exception("model %s: looking for versions failed", model.name)
        with self._planned:
            self._planned.notify_all()
        self._unloaders.work()
        self._loaders.work()
        return wait

    def _keep(self, model: Model, *, look: bool) -> float:
        if look or model.stale:
            model.look()
        tasks, seconds = model.plan()
        for task in tasks:
            self._loaders.put(partial(self._load, task))
        return seconds

    def _load(self, task: Task) -> None:
        if not self._stopping:
            task()
        self._woken.set()

    def _use_own_threads(self) -> None:
        # Here, where nobody can be putting a task into the pool that ends.
        if self._started and self._loaders.idle:
            self._started = False
            self._loaders.drop()
            self._loaders = Workers(self._options.load_threads, "load", self._woken.set)
