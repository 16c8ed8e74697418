"""From a version folder to the engine that answers for it."""

import logging
from collections.abc import Sequence
from pathlib import Path

from rockstar_serving.model_server.batching.batcher import Batcher
from rockstar_serving.model_server.engines.choice import choose_runtime, find_runtimes
from rockstar_serving.model_server.engines.engine import (
    Engine,
    Loader,
    ServableId,
    UnsupportedModelError,
)
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.engines.runtime import Runtime
from rockstar_serving.model_server.measured import CountedEngine, MeasuredLoader
from rockstar_serving.model_server.observer import Observer
from rockstar_serving.model_server.options import BatchingOptions, EngineOptions, ServerOptions
from rockstar_serving.model_server.verification import verify
from rockstar_serving.model_server.warmup.loader import WarmingLoader

log = logging.getLogger(__name__)


def loader(
    options: ServerOptions,
    observer: Observer | None = None,
    runtimes: Sequence[Runtime] | None = None,
) -> Loader:
    """What loads versions as a server's options say.

    Args:
        options: of the server.
        observer: hears of loads, warmups and batches.
        runtimes: to choose from; none: all.
    """
    load: Loader = EngineLoader(options.engine, runtimes)
    if observer is not None:
        load = MeasuredLoader(load, observer)
    if options.warmup.enabled:
        load = WarmingLoader(
            load, options.warmup, check_method=options.inference.check_methods, observer=observer
        )
    if options.engine.litert_on_demand:
        load = RestingLoader(load)
    # Around the warmup: its requests would wait for company that never comes.
    return BatchingLoader(load, options.batching, observer)


class EngineLoader:
    """Loads versions into the engine that the options ask for; a Loader."""

    def __init__(self, options: EngineOptions, runtimes: Sequence[Runtime] | None = None) -> None:
        self._options = options
        self._runtimes = find_runtimes() if runtimes is None else runtimes

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        """Load a version.

        Raises:
            LoadError: it cannot be loaded.
        """
        runtimes = list(self._runtimes)
        while True:
            runtime = choose_runtime(folder, self._options, runtimes)
            verify(folder, runtime.reads)
            try:
                return runtime.load(folder, self._options)
            except UnsupportedModelError as error:
                runtimes.remove(runtime)
                if not any(each.installed and each.file_in(folder) for each in runtimes):
                    raise
                log.warning("%s: %s; loading its other file instead", servable_id, error)


class RestingLoader:
    """Lets what another Loader has made sure of rest until a request; a Loader."""

    def __init__(self, load: Loader) -> None:
        self._load = load

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        """Load a version.

        Raises:
            LoadError: it cannot be loaded.
        """
        engine = self._load(servable_id, folder)
        resting = engine.engine if isinstance(engine, CountedEngine) else engine
        if isinstance(resting, LiteRTEngine):
            resting.rest()
        return engine


class BatchingLoader:
    """Puts batching around what another Loader loads, where the options ask for it; a Loader."""

    def __init__(
        self, load: Loader, options: BatchingOptions, observer: Observer | None = None
    ) -> None:
        self._load = load
        name = options.parameters.thread_pool_name
        self._batcher = Batcher(options, observer.batching(name) if observer else None)

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        """Load a version.

        Raises:
            LoadError: it cannot be loaded, or its parameters cannot be used.
        """
        # First, so that nothing is loaded in vain.
        parameters = self._batcher.parameters(folder)
        return self._batcher.wrap(self._load(servable_id, folder), parameters)
