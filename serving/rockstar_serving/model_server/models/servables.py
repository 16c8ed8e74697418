"""Loaded versions with their engines: reference counts, states, and the versions of one model."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from rockstar_serving.model_server.engines.engine import Engine, ServableId
from tfs_api.status import Code

log = logging.getLogger(__name__)

Task = Callable[[], None]


class State(IntEnum):
    """The state of a version; the numbers are those of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version, and its error if it failed to load."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


class Servable:
    """A version with its engine.

    Each request holds a reference while it runs and releases it at the end of its with block. After
    retire() no request can acquire a new one; releasing the last one closes the engine, so that no
    engine is closed while a request uses it.
    """

    def __init__(
        self,
        servable_id: ServableId,
        folder: Path,
        lock: threading.RLock,
        dispose: Callable[[Task], None],
    ) -> None:
        """Create a servable that is about to be loaded.

        All versions of a model share the lock, which is held while a state changes. `dispose` runs
        the task that closes the engine, which may be slow, on another thread than a request's.
        """
        self.id = servable_id
        self.folder = folder
        self.set_state(State.START)
        self._lock = lock
        self._dispose = dispose
        self._engine: Engine | None = None
        self._references = 0

    @property
    def engine(self) -> Engine:
        """The engine; only for holders of a reference."""
        if self._engine is None:
            raise RuntimeError(f"{self.id} is not loaded")
        return self._engine

    def set_state(self, state: State, code: Code = Code.OK, message: str = "") -> None:
        """Record a new state, with an error if loading failed."""
        self.status = VersionStatus(self.id.version, state, code, message)

    def set_loaded(self, engine: Engine) -> None:
        """Make it available; the caller holds the lock."""
        self._engine = engine
        self.set_state(State.AVAILABLE)

    def acquire(self) -> bool:
        """Take a reference if it is available; the caller holds the lock."""
        if self.status.state is not State.AVAILABLE:
            return False
        self._references += 1
        return True

    def release(self) -> None:
        """Give a reference back."""
        with self._lock:
            self._references -= 1
            unused = self.status.state is State.UNLOADING and not self._references
        if unused:
            self._dispose(self._close)

    def __enter__(self) -> "Servable":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def retire(self) -> None:
        """Unload it as soon as no request uses it."""
        with self._lock:
            if self.status.state is not State.AVAILABLE:
                return
            self.set_state(State.UNLOADING)
            unused = not self._references
        if unused:
            self._dispose(self._close)

    def _close(self) -> None:
        engine, self._engine = self.engine, None
        try:
            engine.close()
        except Exception:  # of any runtime: the version counts as unloaded
            log.exception("%s: closing its engine failed", self.id)
        self.set_state(State.END)
        log.info("%s is unloaded", self.id)


class ServableMap:
    """The servables of one model, by version; thread-safe. `dispose` runs tasks that close engines.

    Dictionaries are replaced, never modified, so that they can be read without the lock.
    """

    def __init__(self, model: str, dispose: Callable[[Task], None]) -> None:
        self._model = model
        self._dispose = dispose
        self._lock = threading.RLock()
        self._servables: Mapping[int, Servable] = {}  # the highest version first
        self._loading: Mapping[int, Servable] = {}
        self._closed = False

    def acquire(self, version: int | None) -> Servable | None:
        """Acquire a version, or the highest available one; None if it is not available."""
        # The lock prevents a swap between the looks at the new and the old version.
        with self._lock:
            for servable in self._servables.values():
                if version in (None, servable.id.version) and servable.acquire():
                    return servable
        return None

    def statuses(self) -> list[VersionStatus]:
        """The states of all versions ever seen, the highest first."""
        with self._lock:
            # A version that is loaded again is shown only if its predecessor is not available.
            available = self.available()
            loading = {v: s for v, s in self._loading.items() if v not in available}
            shown = {**self._servables, **loading}
        return [shown[version].status for version in sorted(shown, reverse=True)]

    def available(self) -> dict[int, Path]:
        """The available versions, in ascending order, with the folders they were loaded from."""
        servables = sorted(self._servables.items())
        return {v: s.folder for v, s in servables if s.status.state is State.AVAILABLE}

    def loading(self) -> set[int]:
        """The versions that are being loaded or about to be."""
        return set(self._loading)

    def begin(self, version: int, folder: Path) -> Servable:
        """Add a version that is about to be loaded."""
        servable = Servable(ServableId(self._model, version), folder, self._lock, self._dispose)
        with self._lock:
            self._loading = {**self._loading, version: servable}
        return servable

    def set_loaded(self, servable: Servable, engine: Engine) -> None:
        """Make a version available; it replaces the same version from another folder."""
        with self._lock:
            servable.set_loaded(engine)
            before = self._servables.get(servable.id.version)
            self._put(servable)
            closed = self._closed
        if before is not None:
            before.retire()
        if closed:
            servable.retire()

    def set_failed(self, servable: Servable, code: Code, message: str) -> None:
        """Record a failed load; the same version loaded from another folder stays available."""
        with self._lock:
            servable.set_state(State.END, code, message)
            self._put(servable, replace=servable.id.version not in self.available())

    def retire(self, version: int) -> None:
        """Unload a version as soon as no request uses it."""
        self._servables[version].retire()

    def close(self) -> None:
        """Unload all versions; those still being loaded as soon as they are."""
        with self._lock:
            self._closed = True
        for servable in self._servables.values():
            servable.retire()

    def _put(self, servable: Servable, *, replace: bool = True) -> None:
        if replace:
            servables = {**self._servables, servable.id.version: servable}
            self._servables = dict(sorted(servables.items(), reverse=True))
        self._loading = {v: s for v, s in self._loading.items() if s is not servable}
