"""One model: keeps the versions that its policy asks for loaded, as its folder changes."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from serving.api.status import Code
from serving.model_server.engines.engine import Engine, Loader, LoadError, ServableId
from serving.model_server.models.config import ModelConfig
from serving.model_server.models.servable import Servable, VersionStatus
from serving.model_server.models.versions import Fingerprint, fingerprint, scan

log = logging.getLogger(__name__)


class Model:
    """The versions of one model.

    reconcile() is for one thread; find() and statuses() are for any: they see a dictionary that is
    replaced, never changed.
    """

    def __init__(self, config: ModelConfig, load: Loader) -> None:
        self.config = config
        self._load = load
        self._servables: Mapping[int, Servable] = {}
        self._lock = threading.RLock()
        self._broken: dict[int, Fingerprint] = {}
        self._path_warned = False

    def find(self, version: int | None) -> Servable | None:
        """The available servable of a version, or the highest available one; retained."""
        # Under the lock, so that no swap falls between asking for the new one and for the old one.
        with self._lock:
            numbers = sorted(self._servables, reverse=True) if version is None else [version]
            for number in numbers:
                servable = self._servables.get(number)
                if servable is not None and servable.retain():
                    return servable
        return None

    def statuses(self) -> list[VersionStatus]:
        """Of all versions ever seen, the highest first."""
        servables = self._servables
        return [servables[version].status for version in sorted(servables, reverse=True)]

    def available(self) -> list[int]:
        """The versions that answer requests."""
        return sorted(v for v, servable in self._servables.items() if servable.available)

    def reconcile(self) -> None:
        """Load what the policy asks for and is not loaded, then unload what it no longer does.

        A version that does not load leaves the choice to the others, until its folder changes.
        """
        folders = self._folders()
        if folders is None:
            return
        self._forget_mended(folders)
        while True:
            wanted = self.config.policy.choose(folders.keys() - self._broken.keys())
            missing = sorted(wanted - set(self.available()))
            # The highest first: what it takes over is needed only if it fails.
            if not missing:
                break
            self._bring_up(missing[-1], folders[missing[-1]])
        for version in self.available():
            if version not in wanted:
                self._servables[version].retire()

    def retire(self) -> None:
        """Unload everything as soon as no request uses it."""
        for version in self.available():
            self._servables[version].retire()

    def trouble(self) -> str:
        """Why no version is available."""
        where = f"model {self.config.name!r} ({self.config.base_path})"
        try:
            folders = scan(self.config.base_path)
        except OSError as error:
            return f"{where}: the base path cannot be read: {error.strerror}"
        errors = [s for s in self.statuses() if s.code != Code.OK]
        if errors:
            reasons = "; ".join(f"version {s.version}: {s.message}" for s in errors)
            return f"{where}: no version loads: {reasons}"
        if not folders:
            return f"{where}: no version folder, such as 1, in the base path"
        return f"{where}: its policy matches none of the versions {sorted(folders)}"

    def _folders(self) -> dict[int, Path] | None:
        try:
            folders = scan(self.config.base_path)
        except OSError as error:
            if not self._path_warned:
                self._path_warned = True
                log.warning(
                    "model %s: base path %s cannot be read (%s); what may be loaded stays",
                    *(self.config.name, self.config.base_path, error.strerror),
                )
            return None
        self._path_warned = False
        return folders

    def _forget_mended(self, folders: Mapping[int, Path]) -> None:
        for version, seen in list(self._broken.items()):
            if version not in folders or fingerprint(folders[version]) != seen:
                del self._broken[version]

    def _bring_up(self, version: int, folder: Path) -> None:
        servable = Servable(ServableId(self.config.name, version), self._lock)
        self._servables = {**self._servables, version: servable}
        servable.loading()
        # Before loading: a file that changes meanwhile counts as a change.
        before = fingerprint(folder)
        started = time.monotonic()
        try:
            engine = self._load(servable.id, folder)
        except Exception as error:  # whatever a runtime raises must not end the polling
            self._broken[version] = before
            self._report(servable, error)
            return
        servable.loaded(engine)
        self._announce(servable, engine, time.monotonic() - started)

    def _report(self, servable: Servable, error: Exception) -> None:
        if isinstance(error, LoadError):
            servable.fail(Code.FAILED_PRECONDITION, str(error))
        else:
            log.exception("%s", servable.id)
            servable.fail(Code.INTERNAL, "internal error while loading")
        log.error("%s does not load: %s", servable.id, servable.status.message)

    def _announce(self, servable: Servable, engine: Engine, seconds: float) -> None:
        log.info(
            "%s is available (%s, %d ms)",
            *(servable.id, engine.name, round(seconds * 1000)),
        )
        newer = [v for v in self._broken if v > servable.id.version]
        if newer:
            log.warning(
                "model %s serves version %d, because version %s does not load",
                *(self.config.name, servable.id.version, ", ".join(map(str, sorted(newer)))),
            )
