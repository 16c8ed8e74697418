"""From a version folder to the engine that answers for it."""

from pathlib import Path

from serving.model_server.engines.engine import Engine, ServableId
from serving.model_server.engines.litert import LiteRTEngine
from serving.model_server.options import EngineOptions


class EngineLoader:
    """Loads versions as the options say; a Loader."""

    def __init__(self, engine: EngineOptions) -> None:
        self._engine = engine

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:  # noqa: ARG002
        """Load a version.

        Raises:
            LoadError: it cannot be loaded.
        """
        return LiteRTEngine(folder, threads=self._engine.intra_op_threads or 1)
