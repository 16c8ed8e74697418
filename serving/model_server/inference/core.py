"""What the server does, whatever the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.api.model_ref import ModelRef
from serving.api.signature import Signature
from serving.model_server.deadline import NO_DEADLINE, Deadline
from serving.model_server.inference.classify import Classification, classify
from serving.model_server.inference.examples import ExamplesQuery
from serving.model_server.inference.multi_inference import (
    MultiInferenceQuery,
    Result,
    multi_inference,
)
from serving.model_server.inference.predict import Prediction, PredictQuery, predict
from serving.model_server.inference.regress import Regression, regress
from serving.model_server.models.config import ModelConfig
from serving.model_server.models.manager import Manager
from serving.model_server.models.servable import VersionStatus
from serving.model_server.options import InferenceOptions


@dataclass(frozen=True)
class Metadata:
    """The signatures of a version."""

    version: int
    signatures: Mapping[str, Signature]


class Core:
    """Answers requests out of the models that a manager keeps."""

    def __init__(
        self,
        manager: Manager,
        options: InferenceOptions = InferenceOptions(),  # noqa: B008 (frozen)
    ) -> None:
        self._manager = manager
        self._check_methods = options.check_methods

    def predict(self, ref: ModelRef, query: PredictQuery) -> tuple[int, Prediction]:
        """Run a signature of a model.

        Returns:
            The version that answered, and its answer.

        Raises:
            StatusError: NOT_FOUND, or of predict().
        """
        with self._manager.servable(ref) as servable:
            return servable.id.version, predict(
                servable.engine, query, check_method=self._check_methods
            )

    def classify(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Classification]:
        """Classify tf.Examples with a model.

        Returns:
            The version that answered, and its answer.

        Raises:
            StatusError: NOT_FOUND, or of classify().
        """
        with self._manager.servable(ref) as servable:
            return servable.id.version, classify(
                servable.engine, query, check_method=self._check_methods
            )

    def regress(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Regression]:
        """Make a number of each tf.Example with a model.

        Returns:
            The version that answered, and its answer.

        Raises:
            StatusError: NOT_FOUND, or of regress().
        """
        with self._manager.servable(ref) as servable:
            return servable.id.version, regress(
                servable.engine, query, check_method=self._check_methods
            )

    def multi_inference(
        self, ref: ModelRef, query: MultiInferenceQuery
    ) -> tuple[int, list[Result]]:
        """Run several signatures of a model on the same tf.Examples.

        Returns:
            The version that answered, and its answers.

        Raises:
            StatusError: NOT_FOUND, or of multi_inference().
        """
        with self._manager.servable(ref) as servable:
            return servable.id.version, multi_inference(
                servable.engine, query, check_method=self._check_methods
            )

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
