"""One model: the versions in its folder, and which of them to load and unload next."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from rockstar_contract.version_folders import served_versions
from rockstar_serving.model_server.engines.engine import Loader, LoadError
from rockstar_serving.model_server.models.config import ModelConfig, Specific, VersionPolicy
from rockstar_serving.model_server.models.folder_stability import (
    NEVER,
    Fingerprint,
    FolderStability,
    fingerprint,
)
from rockstar_serving.model_server.models.servables import Servable, ServableMap, State, Task
from rockstar_serving.model_server.options import LoadOptions
from tfs_api.status import Code

log = logging.getLogger(__name__)

Clock = Callable[[], float]


@dataclass(frozen=True)
class LoadFailure:
    """A version that failed to load.

    Attributes:
        fingerprint: of its folder at the last attempt.
        tries: number of attempts with this fingerprint.
        changes: how often the folder changed and the version failed again.
        retry_at: time of the next attempt, in seconds; NEVER after the last.
    """

    fingerprint: Fingerprint
    tries: int
    changes: int
    retry_at: float


class Readiness(Enum):
    """Whether a version can be loaded now."""

    READY = "ready"
    # Until then no lower version is loaded instead.
    SOON = "soon"
    # The policy chooses among the other versions.
    NOT_READY = "not ready"


@dataclass(frozen=True)
class Plan:
    """The next steps for a model.

    Attributes:
        load: versions, the highest first, because a lower one may be needed only if it fails.
        unload: versions.
        awaited: versions that are wanted and will be ready soon.
    """

    load: tuple[int, ...] = ()
    unload: tuple[int, ...] = ()
    awaited: tuple[int, ...] = ()


def make_plan(
    policy: VersionPolicy,
    found: Mapping[int, Path],
    available: Mapping[int, Path],
    loading: Collection[int],
    readiness: Callable[[int], Readiness],
) -> Plan:
    """Decide what to load and unload so that the versions chosen by a policy are served.

    A version is unloaded only when all chosen versions are served, and never if none of them can be
    loaded: a version that fails to load never replaces one that works.

    The readiness is needed of versions that are neither loaded from the folder that was found nor
    being loaded.
    """
    serving = {version for version, folder in available.items() if found.get(version) == folder}
    usable = set(found)
    known: dict[int, Readiness] = {}
    while True:
        target = policy.choose(usable)
        missing = target - serving - set(loading)
        for version in missing - known.keys():
            known[version] = readiness(version)
        not_ready = {version for version in missing if known[version] == Readiness.NOT_READY}
        if not not_ready:
            break
        usable -= not_ready
    done = target <= serving and (target or not policy.choose(found))
    return Plan(
        load=tuple(sorted((v for v in missing if known[v] == Readiness.READY), reverse=True)),
        unload=tuple(sorted(set(available) - target)) if done else (),
        awaited=tuple(sorted(v for v in missing if known[v] == Readiness.SOON)),
    )


class Outlook(Enum):
    """Whether a model has, or may soon have, an available version."""

    BUSY = "versions are being looked for or loaded, or are about to settle"
    AVAILABLE = "a version is available, and none is being loaded"
    AWAITED = "there is no version yet, or it is still being written"
    RETRIED = "no version loads, and one will be retried"
    FAILED = "no version loads, and none is retried unless its folder changes"


class Model:
    """Keeps the versions chosen by a model's policy loaded.

    look() and plan() are for the lifecycle manager's thread; the rest is thread-safe.

    Attributes:
        servables: its versions.
        outlook: whether a version is available, or worth waiting for.
        config: which versions to serve; None if the model was removed.
        stale: whether the folder must be checked again, because the configuration changed.
    """

    def __init__(
        self,
        config: ModelConfig,
        load: Loader,
        options: LoadOptions,
        dispose: Callable[[Task], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = config.name
        self.servables = ServableMap(config.name, dispose)
        self.outlook = Outlook.BUSY
        self.config: ModelConfig | None = config
        self.stale = True
        self._load = load
        self._clock = clock
        self._stability = FolderStability(options.settle_seconds, clock)
        self._options = options
        self._failures: dict[int, LoadFailure] = {}  # of versions that have not loaded since
        self._lock = threading.Lock()
        self._folders: dict[int, Path] | None = None
        self._problem = ""
        # Of the last plan: fingerprints, time of the next one, whether an unsettled folder is worth
        # waiting for, and whether there is any.
        self._seen: dict[int, Fingerprint] = {}
        self._next = NEVER
        self._waits = self._unsettled = False

    def configure(self, config: ModelConfig | None) -> None:
        """Serve other versions from now on; None: no version."""
        with self._lock:
            self.config, self._folders = config, {} if config is None else None
            self.stale, self._problem, self.outlook = True, "", Outlook.BUSY

    def look(self) -> None:
        """List the versions in the base path; if it cannot be read, keep the last list."""
        with self._lock:
            config, self.stale = self.config, False
        folders: dict[int, Path] | None = {}
        problem = ""
        if config is not None:
            path = config.base_path
            try:
                folders = served_versions(path)
                missing = config.explain_missing(folders)
                problem = f" ({path}): {missing}" if missing else ""
            except OSError as error:
                folders = None
                problem = f": base path {path} cannot be read ({error.strerror}); "
                problem += "what may be loaded stays"
            # A mirror reports its own problems.
            if problem not in ("", self._problem) and config.mirror is None:
                log.warning("model %s%s", self.name, problem)
        self._problem = problem
        with self._lock:
            if folders is not None and not self.stale:
                self._folders = folders

    def plan(self) -> tuple[list[Task], float]:
        """Begin to unload versions that are no longer needed, and return which to load.

        Returns:
            A task for each version to load, and the seconds until the next plan.
        """
        with self._lock:
            config, folders, stale = self.config, self._folders, self.stale
        self._next, self._waits, self._unsettled, self._seen = NEVER, False, False, {}
        plan = Plan()
        tasks: list[Task] = []
        if folders is not None:
            for version in self._failures.keys() - folders.keys():
                self._failures.pop(version, None)
            self._stability.forget_all_but(folders.values())
            plan = make_plan(
                config.policy if config else Specific(frozenset()),
                *(folders, self.servables.available(), self.servables.loading()),
                lambda version: self._readiness(version, folders[version]),
            )
            for version in plan.unload:
                self.servables.retire(version)
            for version in plan.load:
                servable = self.servables.begin(version, folders[version])
                tasks.append(partial(self._load_version, servable, self._seen[version]))
        copying = config is not None and config.mirror is not None and not config.mirror.looked
        busy = tasks or plan.awaited or self.servables.loading() or copying
        with self._lock:
            patient = self._waits and not self.servables.available()
            if busy or patient or stale or self.stale:
                self.outlook = Outlook.BUSY
            else:
                self.outlook = self._settled_outlook(config)
        return tasks, max(0.0, self._next - self._clock())

    def diagnose(self) -> str:
        """Explain why no version is available."""
        config = self.config
        if config is None:
            return f"model {self.name!r}: was removed"
        where = f"model {config.name!r} ({config.place})"
        problem = config.mirror.problem if config.mirror else ""
        try:
            found = served_versions(config.base_path)
        except OSError as error:
            return f"{where}: {problem or f'the base path cannot be read: {error.strerror}'}"
        errors = [status for status in self.servables.statuses() if status.code != Code.OK]
        if errors:
            problem = "no version loads: "
            problem += "; ".join(f"version {s.version}: {s.message}" for s in errors)
        elif not problem and self._unsettled:
            problem = "the files of its version are still being written"
        missing = config.explain_missing(found)
        return f"{where}: {problem or missing or 'no version is loaded yet'}"

    def _readiness(self, version: int, folder: Path) -> Readiness:
        seen = self._seen[version] = fingerprint(folder)
        failure, now = self._failures.get(version), self._clock()
        if failure is not None and failure.fingerprint == seen and now < failure.retry_at:
            self._next = min(self._next, failure.retry_at)
            return Readiness.NOT_READY
        unsettled = self._stability.check(folder, seen, failure.changes + 1 if failure else 0)
        if unsettled is None:
            return Readiness.READY
        self._next, self._unsettled = min(self._next, now + unsettled.wait), True
        if unsettled.soon and failure is None:
            return Readiness.SOON
        self._waits = self._waits or not unsettled.hopeless
        return Readiness.NOT_READY

    def _settled_outlook(self, config: ModelConfig | None) -> Outlook:
        if self.servables.available():
            return Outlook.AVAILABLE
        if config is None:
            return Outlook.FAILED
        # Failures of the versions that the policy would choose if there were no others.
        failures = [f for v, f in list(self._failures.items()) if config.policy.choose({v})]
        if any(failure.retry_at < NEVER for failure in failures):
            return Outlook.RETRIED
        watched = self._options.poll_seconds > 0 or config.mirror
        if self._unsettled or (not failures and watched):
            return Outlook.AWAITED
        return Outlook.FAILED

    def _load_version(self, servable: Servable, seen: Fingerprint) -> None:
        servable.set_state(State.LOADING)
        started = self._clock()
        try:
            engine = self._load(servable.id, servable.folder)
        except Exception as error:  # of any runtime: it must not end the thread
            # The fingerprint from before loading: a file that changes meanwhile counts as a change.
            self._handle_failure(servable, error, seen)
            return
        self._failures.pop(servable.id.version, None)
        self.servables.set_loaded(servable, engine)
        log.info(
            "%s is available (%s, %d ms)",
            *(servable.id, engine.name, round((self._clock() - started) * 1000)),
        )
        if newer := sorted(v for v in list(self._failures) if v > servable.id.version):
            log.warning(
                "model %s serves version %d, because version %s does not load",
                *(self.name, servable.id.version, ", ".join(map(str, newer))),
            )

    def _handle_failure(self, servable: Servable, error: Exception, seen: Fingerprint) -> None:
        tries, changes = 1, 0
        if before := self._failures.get(servable.id.version):
            same = before.fingerprint == seen
            tries = before.tries + 1 if same else 1
            changes = before.changes + (not same)
        retries = tries <= self._options.max_load_retries
        retry_at = self._clock() + self._options.retry_seconds if retries else NEVER
        self._failures[servable.id.version] = LoadFailure(seen, tries, changes, retry_at)
        if isinstance(error, LoadError):
            self.servables.set_failed(servable, Code.FAILED_PRECONDITION, str(error))
        else:
            log.error("%s", servable.id, exc_info=error)
            self.servables.set_failed(servable, Code.INTERNAL, "internal error while loading")
        again = f" in {self._options.retry_seconds:.0f} s (retry {tries}), or" if retries else ""
        log.error(
            "%s does not load: %s; it is tried again%s as soon as its folder changes",
            servable.id,
            servable.status.message,
            again,
        )
