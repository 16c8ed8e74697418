"""The versions of one model that are loaded, being loaded, or were."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from rockstar_serving.model_server.engines.engine import Engine, ServableId
from rockstar_serving.model_server.models.servable import Servable, Task, VersionStatus
from tfs_api.status import Code


class Shelf:
    """Holds servables; any thread may use it.

    Readers see dictionaries that are replaced, never changed.
    """

    def __init__(self, model: str, dispose: Callable[[Task], None]) -> None:
        """Make an empty one.

        Args:
            model: its name.
            dispose: runs what closes engines.
        """
        self._model = model
        self._dispose = dispose
        self._lock = threading.RLock()
        self._servables: Mapping[int, Servable] = {}  # the highest first
        self._loading: Mapping[int, Servable] = {}
        self._closed = False

    def find(self, version: int | None) -> Servable | None:
        """The available servable of a version, or the highest available one; retained."""
        # Under the lock, so that no swap falls between asking for the new one and for the old one.
        with self._lock:
            if version is None:
                return next((s for s in self._servables.values() if s.retain()), None)
            servable = self._servables.get(version)
            return servable if servable is not None and servable.retain() else None

    def statuses(self) -> list[VersionStatus]:
        """Of all versions ever seen, the highest first."""
        with self._lock:
            # One that is loaded anew is told of only where its predecessor does not answer.
            shown = {
                **self._servables,
                **{v: s for v, s in self._loading.items() if v not in self.available()},
            }
        return [shown[version].status for version in sorted(shown, reverse=True)]

    def available(self) -> dict[int, Path]:
        """The versions that answer requests, and the folders that they were loaded from."""
        return {v: s.folder for v, s in sorted(self._servables.items()) if s.available}

    def loading(self) -> set[int]:
        """The versions that are being loaded, or are about to be."""
        return set(self._loading)

    def begin(self, version: int, folder: Path) -> Servable:
        """A version is about to be loaded."""
        servable = Servable(ServableId(self._model, version), folder, self._lock, self._dispose)
        with self._lock:
            self._loading = {**self._loading, version: servable}
        return servable

    def loaded(self, servable: Servable, engine: Engine) -> None:
        """A version is loaded, and takes the place of the same one from another folder."""
        version = servable.id.version
        with self._lock:
            servable.loaded(engine)
            before = self._servables.get(version)
            self._place(servable)
            self._no_longer_loading(version)
            late = self._closed
        if before is not None:
            before.retire()
        if late:
            servable.retire()

    def failed(self, servable: Servable, code: Code, message: str) -> None:
        """A version did not load; where the same one serves from another folder, that stays."""
        version = servable.id.version
        with self._lock:
            servable.fail(code, message)
            if version not in self.available():
                self._place(servable)
            self._no_longer_loading(version)

    def retire(self, version: int) -> None:
        """Unload a version as soon as no request uses it."""
        self._servables[version].retire()

    def close(self) -> None:
        """Unload everything, and what is being loaded when it is."""
        with self._lock:
            self._closed = True
        for servable in self._servables.values():
            servable.retire()

    def _place(self, servable: Servable) -> None:
        version = servable.id.version
        self._servables = dict(sorted({**self._servables, version: servable}.items(), reverse=True))

    def _no_longer_loading(self, version: int) -> None:
        self._loading = {v: s for v, s in self._loading.items() if v != version}
