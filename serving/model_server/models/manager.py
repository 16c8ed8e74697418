"""All models: start-up, polling of their folders, and the servable for a request."""

import logging
import threading
from collections.abc import Sequence

import msgspec

from serving.api.status import Code, StatusError
from serving.model_server.engines.engine import Loader
from serving.model_server.models.config import ModelConfig
from serving.model_server.models.model import Model
from serving.model_server.models.servable import Servable, VersionStatus
from serving.model_server.options import LoadOptions

log = logging.getLogger(__name__)


class StartError(Exception):
    """The server cannot start; the message says why."""


class ModelRef(msgspec.Struct, frozen=True):
    """What a request asks for: a model, and perhaps a version or a label, never both."""

    name: str
    version: int | None = None
    label: str | None = None


class Manager:
    """Keeps models loaded and hands out their servables."""

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        load: Loader,
        options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
    ) -> None:
        """Make a manager; start() loads the models.

        Args:
            configs: the models.
            load: makes the engine of a version folder.
            options: when.
        """
        self._models = {config.name: Model(config, load) for config in configs}
        self._options = options
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Load all models, then watch their folders.

        Raises:
            StartError: of some model, or of every one where not all are required, no version could
                be loaded.
        """
        for model in self._models.values():
            model.reconcile()
        troubles = [m.trouble() for m in self._models.values() if not m.available()]
        if troubles and (self._options.require_all_models or len(troubles) == len(self._models)):
            self.stop()
            raise StartError("\n".join(troubles))
        self._check_labels()
        if self._options.poll_seconds > 0:
            self._thread = threading.Thread(target=self._poll, name="poll", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop watching and unload everything."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        for model in self._models.values():
            model.retire()

    def servable(self, ref: ModelRef) -> Servable:
        """The servable that answers a request, kept loaded until the end of a with block.

        Raises:
            StatusError: NOT_FOUND, no such model or version is available; INVALID_ARGUMENT, an
                unknown label.
        """
        version = self._resolve(ref)
        model = self._models.get(ref.name)
        servable = model.find(version) if model else None
        if servable is None:
            wanted = (
                f"Latest({ref.name})" if version is None else f"Specific({ref.name}, {version})"
            )
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        return servable

    def statuses(self, ref: ModelRef) -> list[VersionStatus]:
        """Of the versions of a model, or of the one asked for; the highest first.

        Raises:
            StatusError: NOT_FOUND, no such model or version; INVALID_ARGUMENT, an unknown label.
        """
        version = self._resolve(ref)
        model = self._models.get(ref.name)
        statuses = model.statuses() if model else []
        if not statuses:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {ref.name}")
        if version is None:
            return statuses
        statuses = [status for status in statuses if status.version == version]
        if not statuses:
            raise StatusError(
                Code.NOT_FOUND, f"Could not find version {version} of model {ref.name}"
            )
        return statuses

    def _resolve(self, ref: ModelRef) -> int | None:
        if not ref.name:
            raise StatusError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        if ref.label is None:
            return ref.version
        model = self._models.get(ref.name)
        version = model.config.labels.get(ref.label) if model else None
        if version is None:
            raise StatusError(
                Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {ref.label}"
            )
        return version

    def _check_labels(self) -> None:
        for name, model in self._models.items():
            for label, version in model.config.labels.items():
                if version not in model.available():
                    log.warning(
                        "model %s: label %r points to version %d, which is not loaded",
                        *(name, label, version),
                    )

    def _poll(self) -> None:
        while not self._stopping.wait(self._options.poll_seconds):
            for model in self._models.values():
                try:
                    model.reconcile()
                except Exception:
                    # Watching must go on, whatever one look ran into.
                    log.exception("model %s: looking for versions failed", model.config.name)
