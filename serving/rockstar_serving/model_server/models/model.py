"""One model: which versions its folder holds, and which are to be loaded and unloaded next."""

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path

from rockstar_serving.model_server.engines.engine import Engine, Loader, LoadError
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.failures import NEVER, Failure, Failures
from rockstar_serving.model_server.models.plan import Fitness, Plan, Versions, make_plan
from rockstar_serving.model_server.models.servable import Servable, Task
from rockstar_serving.model_server.models.settling import Settling
from rockstar_serving.model_server.models.shelf import Shelf
from rockstar_serving.model_server.models.trouble import absence, trouble
from rockstar_serving.model_server.models.versions import Fingerprint, fingerprint, scan
from rockstar_serving.model_server.options import LoadOptions
from tfs_api.status import Code

log = logging.getLogger(__name__)

Clock = Callable[[], float]


class Outlook(Enum):
    """What can be said of a model's versions at the moment."""

    BUSY = "they are looked for, loaded, or about to settle"
    AVAILABLE = "one is available, and nothing is being loaded"
    AWAITED = "none is there yet, or it is still being written"
    RETRIED = "none loads, and one is tried again later"
    FAILED = "none loads, and none is tried again unless its folder changes"


class Model:
    """Keeps the versions that its policy asks for loaded.

    look() and plan() are for one thread, the manager's; the rest is for any.

    Attributes:
        shelf: its versions.
        outlook: whether a version is available, or worth waiting for.
    """

    def __init__(
        self,
        config: ModelConfig,
        load: Loader,
        options: LoadOptions,
        dispose: Callable[[Task], None],
        clock: Clock = time.monotonic,
    ) -> None:
        """Make one of which nothing is loaded.

        Args:
            config: which versions, and where.
            load: makes the engine of a version.
            options: when.
            dispose: runs what closes engines.
            clock: in seconds.
        """
        self.name = config.name
        self.shelf = Shelf(config.name, dispose)
        self.outlook = Outlook.BUSY
        self._config: ModelConfig | None = config
        self._load = load
        self._clock = clock
        self._settling = Settling(options.settle_seconds, clock)
        self._failures = Failures(options.max_load_retries, options.retry_seconds)
        self._looks_again = options.poll_seconds > 0
        self._lock = threading.Lock()
        self._folders: dict[int, Path] | None = None
        self._stale = True
        self._path_warned = False
        self._absent = ""
        # Of the last plan: what was looked at, when to plan next, and whether a folder stirs.
        self._seen: dict[int, Fingerprint] = {}
        self._next = NEVER
        self._waits = self._unsettled = False

    @property
    def config(self) -> ModelConfig | None:
        """Which versions are to be served; None where the model was removed."""
        return self._config

    @property
    def stale(self) -> bool:
        """Whether it is configured anew, and nobody has looked since."""
        return self._stale

    def configure(self, config: ModelConfig | None) -> None:
        """Serve other versions from now on; None: no more."""
        with self._lock:
            self._config, self._folders = config, {} if config is None else None
            self._stale, self._path_warned, self.outlook = True, False, Outlook.BUSY

    def refresh(self) -> None:
        """Have its base path looked at again soon."""
        self._stale = True

    def look(self) -> None:
        """See which versions there are; where the base path cannot be read, all stays as it is."""
        with self._lock:
            config, self._stale = self._config, False
        folders = {} if config is None else self._scan(config)
        with self._lock:
            if folders is not None and not self._stale:
                self._folders = folders

    def plan(self) -> tuple[list[Task], float]:
        """Begin to unload what is not needed any more, and say what to load.

        Returns:
            A task for each version to load, and for how many seconds nothing else is to be done.
        """
        with self._lock:
            config, folders, stale = self._config, self._folders, self._stale
        self._next, self._waits, self._unsettled, self._seen = NEVER, False, False, {}
        plan = Plan()
        if folders is None:
            folders = {}
        else:
            self._forget_gone(folders)
            plan = self._make_plan(config, folders)
        for version in plan.unload:
            self.shelf.retire(version)
        tasks = [self._begin(version, folders[version]) for version in plan.load]
        copying = config is not None and config.mirror is not None and not config.mirror.looked
        busy = tasks or plan.awaited or self.shelf.loading() or copying
        with self._lock:
            patient = self._waits and not self.shelf.available()
            if busy or patient or stale or self._stale:
                self.outlook = Outlook.BUSY
            else:
                self.outlook = self._outlook(config)
        return tasks, max(0.0, self._next - self._clock())

    def trouble(self) -> str:
        """Why no version is available."""
        if self._config is None:
            return f"model {self.name!r}: was removed"
        return trouble(self._config, self.shelf.statuses(), unsettled=self._unsettled)

    def _scan(self, config: ModelConfig) -> dict[int, Path] | None:
        try:
            folders = scan(config.base_path)
        except OSError as error:
            # A mirror says itself what is wrong.
            if not self._path_warned and config.mirror is None:
                self._path_warned = True
                log.warning(
                    "model %s: base path %s cannot be read (%s); what may be loaded stays",
                    *(self.name, config.base_path, error.strerror),
                )
            return None
        self._path_warned = False
        absent = "" if config.mirror else absence(config, folders)
        if absent not in ("", self._absent):
            log.warning("model %s (%s): %s", config.name, config.base_path, absent)
        self._absent = absent
        return folders

    def _forget_gone(self, folders: dict[int, Path]) -> None:
        for version in self._failures.versions():
            if version not in folders:
                self._failures.forget(version)
        self._settling.keep(folders.values())

    def _make_plan(self, config: ModelConfig | None, folders: dict[int, Path]) -> Plan:
        available = self.shelf.available()
        if config is None:
            return Plan(unload=tuple(available))
        versions = Versions(
            found=folders.keys(),
            serving={v for v, folder in available.items() if folders.get(v) == folder},
            loading=self.shelf.loading(),
            available=available.keys(),
        )
        return make_plan(config.policy, versions, lambda v: self._fitness(v, folders[v]))

    def _fitness(self, version: int, folder: Path) -> Fitness:
        seen = self._seen[version] = fingerprint(folder)
        failure, now = self._failures.find(version), self._clock()
        if failure is not None and failure.fingerprint == seen and now < failure.retry_at:
            self._next = min(self._next, failure.retry_at)
            return Fitness.UNFIT
        unsettled = self._settling.look(folder, seen, failure.changes + 1 if failure else 0)
        if unsettled is None:
            return Fitness.READY
        self._next, self._unsettled = min(self._next, now + unsettled.wait), True
        if unsettled.soon and failure is None:
            return Fitness.SOON
        self._waits = self._waits or not unsettled.hopeless
        return Fitness.UNFIT

    def _outlook(self, config: ModelConfig | None) -> Outlook:
        if self.shelf.available():
            return Outlook.AVAILABLE
        if config is None:
            return Outlook.FAILED
        # Of the versions that the policy would choose if there were no others.
        chosen = [v for v in self._failures.versions() if config.policy.choose({v})]
        failures = [self._failures.find(version) for version in chosen]
        if any(failure and failure.retry_at < NEVER for failure in failures):
            return Outlook.RETRIED
        if self._unsettled or (not failures and (self._looks_again or config.mirror)):
            return Outlook.AWAITED
        return Outlook.FAILED

    def _begin(self, version: int, folder: Path) -> Task:
        servable = self.shelf.begin(version, folder)
        return partial(self._bring_up, servable, self._seen[version])

    def _bring_up(self, servable: Servable, seen: Fingerprint) -> None:
        servable.loading()
        started = self._clock()
        try:
            engine = self._load(servable.id, servable.folder)
        except Exception as error:  # whatever a runtime raises must not end the thread
            # What was seen before loading: a file that changes meanwhile counts as a change.
            failure = self._failures.record(servable.id.version, seen, self._clock())
            self._report(servable, error, failure)
            return
        self._failures.forget(servable.id.version)
        self.shelf.loaded(servable, engine)
        self._announce(servable, engine, self._clock() - started)

    def _report(self, servable: Servable, error: Exception, failure: Failure) -> None:
        if isinstance(error, LoadError):
            self.shelf.failed(servable, Code.FAILED_PRECONDITION, str(error))
        else:
            log.error("%s", servable.id, exc_info=error)
            self.shelf.failed(servable, Code.INTERNAL, "internal error while loading")
        again = "it is tried again"
        if failure.retry_at < NEVER:
            again += f" in {failure.retry_at - self._clock():.0f} s (retry {failure.tries}), or"
        log.error(
            "%s does not load: %s; %s as soon as its folder changes",
            *(servable.id, servable.status.message, again),
        )

    def _announce(self, servable: Servable, engine: Engine, seconds: float) -> None:
        log.info(
            "%s is available (%s, %d ms)",
            *(servable.id, engine.name, round(seconds * 1000)),
        )
        newer = [v for v in self._failures.versions() if v > servable.id.version]
        if newer:
            log.warning(
                "model %s serves version %d, because version %s does not load",
                *(self.name, servable.id.version, ", ".join(map(str, newer))),
            )
