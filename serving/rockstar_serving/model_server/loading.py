"""Loading a version: choose the runtime, verify the files, warm up, add batching."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rockstar_contract.manifest import (
    ManifestError,
    MissingManifestError,
    check_manifest,
    describe_files,
)
from rockstar_serving.model_server.batching import BatchingEngine, Scheduler, version_parameters
from rockstar_serving.model_server.engines.engine import (
    Engine,
    LoadError,
    MeasuredEngine,
    Runtime,
    ServableId,
    UnsupportedModelError,
    choose_runtime,
    find_runtimes,
)
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.models.folder_stability import fingerprint
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from rockstar_serving.model_server.trial import Trials
from rockstar_serving.model_server.warmup import warm_up

if TYPE_CHECKING:
    from rockstar_serving.model_server.monitoring import Monitoring

log = logging.getLogger(__name__)

_EXTRA_ASSETS = "assets.extra/"  # holds warmup requests
_MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
_CHANGED = "{} changed while it was being loaded"


class VersionLoader:
    """Loads versions according to the options of a server; a Loader."""

    def __init__(
        self,
        options: ServerOptions,
        observer: "Monitoring | None" = None,
        runtimes: Sequence[Runtime] | None = None,
    ) -> None:
        """Create a loader that chooses from these runtimes; None: from all."""
        self._options = options
        self._observer = observer
        self._runtimes = find_runtimes() if runtimes is None else runtimes
        self._trials = Trials()
        batching = options.batching.parameters
        self._scheduler = Scheduler(batching.threads, batching.thread_pool_name)
        self._batches = observer.batching(batching.thread_pool_name) if observer else None

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        """Load a version; raises LoadError."""
        # First, because it is cheap and may fail.
        parameters = version_parameters(self._options.batching, folder)
        observer, options = self._observer, self._options
        started = time.perf_counter()
        loaded = None
        try:
            engine = loaded = self._load(servable_id, folder)
        finally:
            if observer is not None:
                seconds = time.perf_counter() - started
                observer.load(folder, loaded=loaded is not None, seconds=seconds)
        if observer is not None:
            engine = MeasuredEngine(loaded, observer.graph_run)
        if options.warmup.enabled:
            warm_up(
                engine,
                servable_id,
                folder,
                iterations=options.warmup.iterations,
                check_method=options.inference.check_methods,
                observer=observer,
            )
        if options.engine.litert_on_demand and isinstance(loaded, LiteRTEngine):
            loaded.rest()
        if parameters is None:
            return engine
        # After the warmup, whose requests would wait for others that never come.
        return BatchingEngine(engine, self._scheduler, parameters, self._batches)

    def _load(self, servable_id: ServableId, folder: Path) -> Engine:
        runtimes = list(self._runtimes)
        while True:
            runtime = choose_runtime(folder, self._options.engine, runtimes)
            try:
                return load_verified(folder, runtime, self._options.engine, self._trials)
            except UnsupportedModelError as error:
                runtimes.remove(runtime)
                if not any(each.installed and each.file_in(folder) for each in runtimes):
                    raise
                log.warning("%s: %s; loading its other file instead", servable_id, error)


def load_verified(
    folder: Path, runtime: Runtime, options: EngineOptions, trials: Trials | None = None
) -> Engine:
    """Load a version that matches its manifest, or has none but survives a trial.

    All files of the manifest must exist with their sizes. Only those that will be read are hashed,
    because hashing is slow. Raises LoadError, also if the folder changes meanwhile.
    """
    seen = fingerprint(folder)
    prefixes = (*runtime.reads, _EXTRA_ASSETS)
    try:
        try:
            manifest = check_manifest(folder, lambda path: path.startswith(prefixes))
        except MissingManifestError:
            name = runtime.file_in(folder) or ""
            if (folder / name).stat().st_size > _MEMORY_BYTES:
                raise LoadError(f"{folder / name} does not fit into memory") from None
            manifest = describe_files(folder, [name])
            trials = Trials() if trials is None else trials
            trials.run(folder, runtime, options, manifest)
        engine = runtime.load(folder, options, manifest)
    except ManifestError as error:
        if fingerprint(folder) != seen:
            raise LoadError(_CHANGED.format(folder)) from error
        raise LoadError(
            f"{error}: copy it again from where it was published, or publish a new version "
            "(rockstar verify compares all files)"
        ) from error
    except OSError as error:
        raise LoadError(f"{folder} cannot be read: {error}") from error
    if fingerprint(folder) != seen:
        engine.close()
        raise LoadError(_CHANGED.format(folder))
    return engine
