"""What the server does, whatever the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.inference.classify import Classification, classify
from rockstar_serving.model_server.inference.examples import ExamplesQuery
from rockstar_serving.model_server.inference.multi_inference import (
    MultiInferenceQuery,
    Result,
    multi_inference,
)
from rockstar_serving.model_server.inference.predict import Prediction, PredictQuery, predict
from rockstar_serving.model_server.inference.regress import Regression, regress
from rockstar_serving.model_server.measured import MeasuredEngine
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.models.servable import Servable, VersionStatus
from rockstar_serving.model_server.observer import Observer
from rockstar_serving.model_server.options import InferenceOptions
from tfs_api.model_ref import ModelRef
from tfs_api.signature import Signature


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
        observer: Observer | None = None,
    ) -> None:
        """Make a core.

        Args:
            manager: of the models.
            options: what requests may ask.
            observer: hears of what engines run, and of examples.
        """
        self._manager = manager
        self._check_methods = options.check_methods
        self._observer = observer

    def predict(self, ref: ModelRef, query: PredictQuery) -> tuple[int, Prediction]:
        """Run a signature of a model.

        Returns:
            The version that answered, and its answer.

        Raises:
            StatusError: NOT_FOUND, or of predict().
        """
        with self._manager.servable(ref) as servable:
            engine = self._measured(servable, "Predict")
            answer = predict(engine, query, check_method=self._check_methods)
        return servable.id.version, answer

    def classify(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Classification]:
        """Classify tf.Examples with a model.

        Returns:
            The version that answered, and its answer.

        Raises:
            StatusError: NOT_FOUND, or of classify().
        """
        with self._manager.servable(ref) as servable:
            engine = self._measured(servable, "Classify")
            answer = classify(engine, query, check_method=self._check_methods)
        self._count(ref, query)
        return servable.id.version, answer

    def regress(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Regression]:
        """Make a number of each tf.Example with a model.

        Returns:
            The version that answered, and its answer.

        Raises:
            StatusError: NOT_FOUND, or of regress().
        """
        with self._manager.servable(ref) as servable:
            engine = self._measured(servable, "Regress")
            answer = regress(engine, query, check_method=self._check_methods)
        self._count(ref, query)
        return servable.id.version, answer

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
            answer = multi_inference(servable.engine, query, check_method=self._check_methods)
        self._count(ref, query)
        return servable.id.version, answer

    def models(self) -> list[str]:
        """The names of all models that are to be served."""
        return [config.name for config in self._manager.configs]

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
        self._manager.reload(configs, deadline, wait=True)

    def metadata(self, ref: ModelRef) -> Metadata:
        """The signatures of a model.

        Raises:
            StatusError: NOT_FOUND or INVALID_ARGUMENT.
        """
        with self._manager.servable(ref) as servable:
            return Metadata(servable.id.version, servable.engine.signatures)

    def _measured(self, servable: Servable, api: str) -> Engine:
        if self._observer is None:
            return servable.engine
        return MeasuredEngine(servable.engine, servable.id.model, api, self._observer)

    def _count(self, ref: ModelRef, query: ExamplesQuery | MultiInferenceQuery) -> None:
        if self._observer is not None:
            self._observer.examples(ref.name, len(query.examples))
