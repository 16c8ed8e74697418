"""Which versions are batched, and how."""

from pathlib import Path

from rockstar_serving.model_server.batching.engine import BatchingEngine
from rockstar_serving.model_server.batching.observer import BatchingObserver, NoObserver
from rockstar_serving.model_server.batching.parameters import (
    FIELDS,
    POOL_FIELDS,
    QueueParameters,
    read_parameters,
)
from rockstar_serving.model_server.batching.scheduler import Scheduler
from rockstar_serving.model_server.engines.engine import Engine, LoadError
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.options import BatchingOptions

MODEL_FILE = "batching_params.pbtxt"  # in a version folder


class Batcher:
    """Puts batching around engines, as the options say."""

    def __init__(self, options: BatchingOptions, observer: BatchingObserver | None = None) -> None:
        """Make a batcher; its threads live while there are engines that it batches.

        Args:
            options: whether and how to batch.
            observer: hears of batches.
        """
        self._options = options
        self._observer = observer or NoObserver()
        parameters = options.parameters
        self._scheduler = Scheduler(parameters.threads, parameters.thread_pool_name)

    def parameters(self, version_folder: Path) -> QueueParameters | None:
        """How to batch a version; None for not at all.

        With parameters for each model, one without a file is not batched, as in TensorFlow Serving.

        Raises:
            LoadError: the version's file cannot be used.
        """
        if not self._options.enabled:
            return None
        if not self._options.per_model:
            return self._options.parameters.queue
        path = version_folder / MODEL_FILE
        if not path.exists():
            return None
        try:
            return read_parameters(path, FIELDS - POOL_FIELDS).queue
        except ConfigError as error:
            raise LoadError(str(error)) from error

    def wrap(self, engine: Engine, parameters: QueueParameters | None) -> Engine:
        """The engine with batching around it, or itself without parameters."""
        if parameters is None:
            return engine
        return BatchingEngine(engine, self._scheduler, parameters, self._observer)
