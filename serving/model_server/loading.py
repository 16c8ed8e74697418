"""From a version folder to the engine that answers for it."""

from pathlib import Path

from serving.model_server.batching.batcher import Batcher
from serving.model_server.engines.choice import choose_runtime, find_runtimes
from serving.model_server.engines.engine import Engine, ServableId
from serving.model_server.options import BatchingOptions, EngineOptions
from serving.model_server.verification import verify


class EngineLoader:
    """Loads versions as the options say; a Loader."""

    def __init__(self, engine: EngineOptions, batching: BatchingOptions) -> None:
        self._engine = engine
        self._batcher = Batcher(batching)
        self._runtimes = find_runtimes()

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:  # noqa: ARG002
        """Load a version.

        Raises:
            LoadError: it cannot be loaded.
        """
        runtime = choose_runtime(folder, self._engine, self._runtimes)
        verify(folder, runtime.reads)
        batching = self._batcher.parameters(folder)
        return self._batcher.wrap(runtime.load(folder, self._engine), batching)
