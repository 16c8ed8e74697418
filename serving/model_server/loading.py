"""From a version folder to the engine that answers for it."""

from pathlib import Path

from serving.manifest import ManifestError, MissingManifestError, check_readable
from serving.model_server.batching.batcher import Batcher
from serving.model_server.engines.engine import Engine, Loader, LoadError, ServableId
from serving.model_server.engines.litert import MODEL_FILE, LiteRTEngine
from serving.model_server.options import BatchingOptions, EngineOptions

# Holds warmup requests.
_EXTRA_ASSETS = "assets.extra/"


class EngineLoader:
    """Loads versions as the options say; a Loader."""

    def __init__(self, engine: EngineOptions, batching: BatchingOptions) -> None:
        self._engine = engine
        self._batcher = Batcher(batching)

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:  # noqa: ARG002
        """Load a version.

        Raises:
            LoadError: it cannot be loaded.
        """
        batching = self._batcher.parameters(folder)
        engine = LiteRTEngine(folder, threads=self._engine.intra_op_threads or 1)
        return self._batcher.wrap(engine, batching)


def verifying(load: Loader) -> Loader:
    """A Loader that refuses versions that are not what their manifest says.

    All files must be there with their sizes. Hashed are those that are read, which is what costs:
    the LiteRT model, but not the SavedModel beside it, which is as large. A version without a
    manifest was published by other means, and is loaded as it is.
    """

    def verify_and_load(servable_id: ServableId, folder: Path) -> Engine:
        try:
            check_readable(folder, _is_read)
        except MissingManifestError:
            pass
        except ManifestError as error:
            raise LoadError(
                f"{error}: copy it again from where it was published, or publish a new version "
                "(rockstar verify compares all files)"
            ) from error
        return load(servable_id, folder)

    return verify_and_load


def _is_read(path: str) -> bool:
    return path == MODEL_FILE or path.startswith(_EXTRA_ASSETS)
