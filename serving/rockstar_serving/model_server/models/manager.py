"""All models: the thread that loads and unloads versions, start, reload, labels, and lookup."""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent import futures
from functools import partial

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline, DeadlinePassedError
from rockstar_serving.model_server.engines.engine import Loader
from rockstar_serving.model_server.models.config import ConfigError, ModelConfig
from rockstar_serving.model_server.models.folder_stability import NEVER
from rockstar_serving.model_server.models.mirror import Mirrors
from rockstar_serving.model_server.models.model import Model, Outlook
from rockstar_serving.model_server.models.servables import Servable, Task, VersionStatus
from rockstar_serving.model_server.options import LoadOptions
from tfs_api.model_ref import ModelRef
from tfs_api.status import Code, StatusError, invalid

log = logging.getLogger(__name__)

# The same number as in TensorFlow Serving (num_initial_load_threads).
_INITIAL_LOAD_THREADS = 4 * (os.cpu_count() or 1)
# How often to log what the start is waiting for.
_REMINDER_SECONDS = 60.0
# How long a stop waits for versions that are being loaded or unloaded.
_STOP_SECONDS = 2.0
# How often a wait checks that its caller is still there.
_CHECK_SECONDS = 1.0


class StartError(Exception):
    """The server cannot start; the message says why."""


class _Workers:
    """Runs tasks on its own threads; with 0 threads, run_waiting() runs them after `wake`."""

    def __init__(self, threads: int, name: str, wake: Callable[[], None]) -> None:
        self._pool = futures.ThreadPoolExecutor(threads, name) if threads else None
        self._wake = wake
        self._waiting: deque[Task] = deque()
        self._running: set[futures.Future[None]] = set()

    def put(self, task: Task) -> None:
        """Run a task, which handles its own errors."""
        if self._pool is None:
            self._waiting.append(task)
            self._wake()
        else:
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

    def __init__(self, options: LoadOptions) -> None:
        self._options = options
        self._models: tuple[Model, ...] = ()
        self._next_look = 0.0
        self._woken = threading.Event()
        self._planned = threading.Condition()
        self._stopping = self._closed = self._initial_load_ended = False
        self._loaders = _Workers(_INITIAL_LOAD_THREADS, "load", self.wake)
        self._unloaders = _Workers(options.unload_threads, "unload", self.wake)
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def manage(self, models: Iterable[Model]) -> None:
        """Manage these models from now on; checks newly configured ones at once."""
        self._models = tuple(models)
        self.wake()

    def wait(self, done: Callable[[], bool], deadline: Deadline = NO_DEADLINE) -> None:
        """Wait until a condition is true, checking it after each plan.

        Raises StatusError DEADLINE_EXCEEDED, CANCELLED (caller gone) or UNAVAILABLE (stopping).
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
        self.wake()

    def unload(self, task: Task) -> None:
        """Run a task that closes an engine."""
        if self._closed:
            task()
        else:
            self._unloaders.put(task)

    def stop(self) -> bool:
        """Stop checking and loading; returns whether no version is still being loaded."""
        self._stopping = True
        self.wake()
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
        # In this thread, because no other one puts tasks into the pool that is replaced.
        if self._initial_load_ended and self._loaders.idle:
            self._initial_load_ended = False
            self._loaders.cancel_waiting()
            self._loaders = _Workers(self._options.load_threads, "load", self.wake)
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
            except Exception:  # an unexpected error must not affect the other models
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
        self.wake()


class Labels:
    """The version labels of all models: names that stand for versions.

    As in TensorFlow Serving (UpdateModelVersionLabelMap in server_core.cc), a label may be assigned
    to an available version. With allow_unavailable, a new label may be assigned to any version; an
    existing label still moves only to an available one, because requests would fail otherwise.
    """

    def __init__(self, *, allow_unavailable: bool) -> None:
        self._allow_unavailable = allow_unavailable
        self._versions: Mapping[tuple[str, str], int] = {}

    def version(self, model: str, label: str) -> int:
        """Look up the version of a label; StatusError INVALID_ARGUMENT if there is none."""
        version = self._versions.get((model, label))
        if version is None:
            raise invalid(f"Unrecognized servable version label: {label}")
        return version

    def assign(
        self, configs: Iterable[ModelConfig], available: Callable[[str], Collection[int]]
    ) -> None:
        """Replace all labels; raises StatusError FAILED_PRECONDITION if one may not be assigned."""
        versions = {(each.name, label): v for each in configs for label, v in each.labels.items()}
        for (model, label), version in versions.items():
            new = self._versions.get((model, label), version) == version
            if not (self._allow_unavailable and new) and version not in available(model):
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model}, which is not "
                    "currently available for inference",
                )
        self._versions = versions


class Manager:
    """Keeps the models of `configs` loaded and finds the servable for a request."""

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        load: Loader,
        options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self.configs = tuple(configs)
        self._load = load
        self._options = options
        self._labels = Labels(allow_unavailable=options.allow_labels_for_unavailable)
        self._lifecycle = LifecycleManager(options)
        self._mirrors = Mirrors(options)
        self._reloading = threading.Lock()
        # Removed models stay, because clients may still request the states of their versions.
        self._models: Mapping[str, Model] = {}

    def start(self) -> None:
        """Load all models, then watch their folders.

        Raises:
            StartError: no version of a required model loads (of any model, if not all are
                required) and none is waited for; or a label is assigned before its version is
                loaded.
        """
        try:
            self._labels.assign(self.configs, lambda _: ())
        except StatusError as error:
            raise StartError(
                f"{error.message}: labels can be given at the start only with "
                "--allow_version_labels_for_unavailable_models"
            ) from error
        models = self._configure(self.configs)
        self._lifecycle.start()
        self._lifecycle.wait(lambda: all(model.outlook != Outlook.BUSY for model in models))
        if self._options.wait_for_models:
            self._wait_for(models)
        self._lifecycle.end_initial_load()
        diagnostics = [model.diagnose() for model in models if not model.servables.available()]
        if diagnostics and (self._options.require_all_models or len(diagnostics) == len(models)):
            self.stop()
            raise StartError("\n".join(diagnostics))
        self._warn_of_labels()

    def reload(
        self,
        configs: Sequence[ModelConfig],
        deadline: Deadline = NO_DEADLINE,
        *,
        wait: bool = False,
    ) -> None:
        """Replace the served models, as TensorFlow Serving's ReloadConfig does.

        Labels change at once. The call waits for new models; with `wait`, also for versions that do
        not exist yet, if the start does. Models that were served before change in the background:
        their versions stay until the newly chosen ones are loaded.

        Raises:
            StatusError: FAILED_PRECONDITION, a label is assigned to an unavailable version, and
                nothing has changed; UNKNOWN, no version of a new model loads (it is served as soon
                as one does, the other models are served); DEADLINE_EXCEEDED.
        """
        with self._reloading:
            self._labels.assign(configs, self._available)
            known = {config.name for config in self.configs}
            self.configs = tuple(configs)
            log.info("serving from now on: %s", ", ".join(c.name for c in configs) or "no model")
            try:
                new = [model for model in self._configure(configs) if model.name not in known]
            except ConfigError as error:
                raise StatusError(Code.FAILED_PRECONDITION, str(error)) from error
        # Without the lock: a version that loads slowly must not delay another reload.
        patient = wait and self._options.wait_for_models
        self._lifecycle.wait(lambda: _decided(new, patient=patient), deadline)
        self._warn_of_labels()
        unavailable = [model for model in new if not model.servables.available()]
        if unavailable:
            for model in unavailable:
                log.error("%s", model.diagnose())
            raise StatusError(Code.UNKNOWN, _not_available(unavailable))

    def stop(self) -> bool:
        """Stop watching and unload everything; returns whether no version is still being loaded."""
        finished = self._mirrors.stop()
        finished = self._lifecycle.stop() and finished
        for model in self._models.values():
            model.servables.close()
        self._lifecycle.close()
        return finished

    def servable(self, ref: ModelRef) -> Servable:
        """Acquire the servable for a request; leaving its with block releases it.

        Raises StatusError NOT_FOUND (none is available) or INVALID_ARGUMENT (an unknown label).
        """
        name = ref.name
        if not name:
            raise invalid("ModelSpec has no name specified.")
        while True:
            version = ref.version if ref.label is None else self._labels.version(name, ref.label)
            model = self._models.get(name)
            servable = model.servables.acquire(version) if model else None
            if servable is not None:
                return servable
            # The label may have moved since it was looked up, and its old version be unloaded.
            if ref.label is None or self._labels.version(name, ref.label) == version:
                break
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")

    def statuses(self, ref: ModelRef) -> list[VersionStatus]:
        """The states of the requested version, or of all versions of a model, the highest first.

        A label is ignored, as in TensorFlow Serving (`get_model_status_impl.cc`). Raises
        StatusError NOT_FOUND.
        """
        statuses, what = self._statuses(ref.name), "any versions"
        if ref.version is not None:
            statuses = [status for status in statuses if status.version == ref.version]
            what = f"version {ref.version}"
        if not statuses:
            raise StatusError(Code.NOT_FOUND, f"Could not find {what} of model {ref.name}")
        return statuses

    def _configure(self, configs: Iterable[ModelConfig]) -> list[Model]:
        """Configure all models, adding new ones; returns those of the configuration."""
        wanted = {
            config.name: self._mirrors.local(
                config, partial(self._statuses, config.name), partial(self._refresh, config.name)
            )
            for config in configs
        }
        self._mirrors.keep(wanted)
        models = dict(self._models)
        for name, model in models.items():
            if model.config != wanted.get(name):
                model.configure(wanted.get(name))
        for name in wanted.keys() - models.keys():
            models[name] = Model(wanted[name], self._load, self._options, self._lifecycle.unload)
        self._models = models
        self._lifecycle.manage(models.values())
        return [models[name] for name in wanted]

    def _wait_for(self, models: Sequence[Model]) -> None:
        """Wait for the first versions or a required model's failure, logging what is missing."""

        def done() -> bool:
            outlooks = {model.outlook for model in models}
            if self._options.require_all_models:
                return outlooks <= {Outlook.AVAILABLE} or Outlook.FAILED in outlooks
            return Outlook.AVAILABLE in outlooks or outlooks <= {Outlook.FAILED}

        def missing() -> list[str]:
            waited_for = (Outlook.AWAITED, Outlook.RETRIED)
            return [model.diagnose() for model in models if model.outlook in waited_for]

        def news(reported: list[str]) -> bool:
            return done() or missing() != reported

        while not done():
            reported = missing()
            for diagnosis in reported:
                log.warning("waiting for %s", diagnosis)
            with contextlib.suppress(DeadlinePassedError):
                self._lifecycle.wait(partial(news, reported), Deadline.after(_REMINDER_SECONDS))

    def _statuses(self, name: str) -> list[VersionStatus]:
        model = self._models.get(name)
        return model.servables.statuses() if model else []

    def _refresh(self, name: str) -> None:
        if model := self._models.get(name):
            model.stale = True
            self._lifecycle.wake()

    def _available(self, name: str) -> Collection[int]:
        model = self._models.get(name)
        return model.servables.available() if model else ()

    def _warn_of_labels(self) -> None:
        for config in self.configs:
            for label, version in config.labels.items():
                if version not in self._available(config.name):
                    log.warning(
                        "model %s: label %r stands for version %d, which is not loaded",
                        config.name,
                        label,
                        version,
                    )


def _decided(models: Sequence[Model], *, patient: bool) -> bool:
    """Whether there is nothing to wait for: all models are served, or one of them fails."""
    outlooks = {model.outlook for model in models}
    if patient and not outlooks & {Outlook.RETRIED, Outlook.FAILED}:
        return outlooks <= {Outlook.AVAILABLE}
    return Outlook.BUSY not in outlooks


def _not_available(models: Sequence[Model]) -> str:
    """The message of TensorFlow Serving (WaitUntilModelsAvailable in server_core.cc)."""
    parts = []
    for model in models:
        errors = [status for status in model.servables.statuses() if status.code != Code.OK]
        parts += [
            f"{{{{name: {model.name} version: {status.version}}} due to error: "
            f"{status.code.name}: {status.message}}}, "
            for status in errors
        ] or [f"{{{{name: {model.name}}} due to error: NOT_FOUND: {model.diagnose()}}}, "]
    return f"{len(models)} model(s) did not become available: {{{''.join(parts)}}}"
