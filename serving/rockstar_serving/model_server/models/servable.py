"""One version of a model through its life, and what is told of it."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import TracebackType

from rockstar_serving.model_server.engines.engine import Engine, ServableId
from tfs_api.status import Code

log = logging.getLogger(__name__)

Task = Callable[[], None]


class State(IntEnum):
    """Numbers are those of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version, and the error that ended it, if one did."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


class Servable:
    """A version with its engine.

    Requests hold a reference while they run; a with block gives it back. Once it is retired nobody
    gets a new one, and when the last one is given back the engine is closed, so a swap never takes
    an engine from under a request.
    """

    def __init__(
        self,
        servable_id: ServableId,
        folder: Path,
        lock: threading.RLock,
        dispose: Callable[[Task], None],
    ) -> None:
        """Make one that is about to be loaded.

        Args:
            servable_id: its model and version.
            folder: it is loaded from.
            lock: held while a state changes; shared by the versions of a model, so that its holder
                sees all of them at one moment.
            dispose: runs what closes the engine; not here, because it may take long, and those who
                give back a reference have requests to answer.
        """
        self.id = servable_id
        self.folder = folder
        self._lock = lock
        self._dispose = dispose
        self._engine: Engine | None = None
        self._references = 0
        self._status = VersionStatus(servable_id.version, State.START)

    @property
    def status(self) -> VersionStatus:
        """Where it is in its life."""
        return self._status

    @property
    def available(self) -> bool:
        """Whether requests may use it."""
        return self._status.state == State.AVAILABLE

    @property
    def engine(self) -> Engine:
        """What runs it; only for those who retain it."""
        if self._engine is None:
            raise RuntimeError(f"{self.id} is not loaded")
        return self._engine

    def loading(self) -> None:
        """Loading has begun."""
        self._status = VersionStatus(self.id.version, State.LOADING)

    def loaded(self, engine: Engine) -> None:
        """Make it available."""
        with self._lock:
            self._engine = engine
            self._status = VersionStatus(self.id.version, State.AVAILABLE)

    def fail(self, code: Code, message: str) -> None:
        """It could not be loaded."""
        self._status = VersionStatus(self.id.version, State.END, code, message)

    def retain(self) -> bool:
        """Take a reference, if it is available; give it back with release()."""
        with self._lock:
            if not self.available:
                return False
            self._references += 1
            return True

    def release(self) -> None:
        """Give a reference back."""
        with self._lock:
            self._references -= 1
        self._dispose_if_unused()

    def __enter__(self) -> "Servable":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def retire(self) -> None:
        """Unload it as soon as no request uses it."""
        with self._lock:
            if not self.available:
                return
            self._status = VersionStatus(self.id.version, State.UNLOADING)
        self._dispose_if_unused()

    def _dispose_if_unused(self) -> None:
        with self._lock:
            if self._status.state != State.UNLOADING or self._references or self._engine is None:
                return
            engine, self._engine = self._engine, None
        self._dispose(partial(self._close, engine))

    def _close(self, engine: Engine) -> None:
        try:
            engine.close()
        except Exception:
            # Whatever a runtime raises, the version is gone.
            log.exception("%s: closing its engine failed", self.id)
        self._status = VersionStatus(self.id.version, State.END)
        log.info("%s is unloaded", self.id)
