"""What the server does, whatever the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.api.signature import Signature
from serving.model_server.deadline import NO_DEADLINE, Deadline
from serving.model_server.inference.predict import Prediction, PredictQuery, predict
from serving.model_server.models.config import ModelConfig
from serving.model_server.models.manager import Manager, ModelRef
from serving.model_server.models.servable import VersionStatus


@dataclass(frozen=True)
class Metadata:
    """The signatures of a version."""

    version: int
    signatures: Mapping[str, Signature]


class Core:
    """Answers requests out of the models that a manager keeps."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def predict(self, ref: ModelRef, query: PredictQuery) -> tuple[int, Prediction]:
        """Run a signature of a model.

        Returns:
            The version that answered, and its answer.

        Raises:
            StatusError: NOT_FOUND, or of predict().
        """
        with self._manager.servable(ref) as servable:
            return servable.id.version, predict(servable.engine, query)

    def status(self, ref: ModelRef) -> list[VersionStatus]:
        """Of the versions of a model, the highest first.

        Raises:
            StatusError: NOT_FOUND or INVALID_ARGUMENT.
        """
        return self._manager.statuses(ref)

    def reload(self, configs: Sequence[ModelConfig], deadline: Deadline = NO_DEADLINE) -> None:
        """Serve other models from now on.

        Raises:
            StatusError: as Manager.reload().
        """
        self._manager.reload(configs, deadline)

    def metadata(self, ref: ModelRef) -> Metadata:
        """The signatures of a model.

        Raises:
            StatusError: NOT_FOUND or INVALID_ARGUMENT.
        """
        with self._manager.servable(ref) as servable:
            return Metadata(servable.id.version, servable.engine.signatures)
