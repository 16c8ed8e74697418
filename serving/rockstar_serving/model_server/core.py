"""The server's operations, independent of the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.examples import (
    Classification,
    ExamplesQuery,
    MultiInferenceQuery,
    Regression,
    Result,
    classify,
    multi_inference,
    regress,
)
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.models.servables import Servable, VersionStatus
from rockstar_serving.model_server.observers import Observer, RequestRuns
from rockstar_serving.model_server.options import InferenceOptions
from rockstar_serving.model_server.predict import Prediction, PredictQuery, predict
from tfs_api.model_ref import ModelRef
from tfs_api.signature import Signature


@dataclass(frozen=True)
class Metadata:
    """The signatures of a version, by name."""

    version: int
    signatures: Mapping[str, Signature]


class Core:
    """Runs requests on the models of a manager."""

    def __init__(
        self,
        manager: Manager,
        options: InferenceOptions = InferenceOptions(),  # noqa: B008 (frozen)
        observer: Observer | None = None,
    ) -> None:
        """Create a core.

        Args:
            manager: of the models.
            options: which requests are allowed.
            observer: receives engine runs and numbers of examples.
        """
        self._manager = manager
        self._check_methods = options.check_methods
        self._observer = observer

    def predict(self, ref: ModelRef, query: PredictQuery) -> tuple[int, Prediction]:
        """Run a signature of a model.

        Returns:
            The version that ran, and its prediction.

        Raises:
            StatusError: NOT_FOUND, or any error of predict().
        """
        with self._manager.servable(ref) as servable:
            engine = self._wrap(servable, "Predict")
            answer = predict(engine, query, check_method=self._check_methods)
        return servable.id.version, answer

    def classify(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Classification]:
        """Classify tf.Examples with a model.

        Returns:
            The version that ran, and its classification.

        Raises:
            StatusError: NOT_FOUND, or any error of classify().
        """
        with self._manager.servable(ref) as servable:
            engine = self._wrap(servable, "Classify")
            answer = classify(engine, query, check_method=self._check_methods)
        self._count_examples(ref, query)
        return servable.id.version, answer

    def regress(self, ref: ModelRef, query: ExamplesQuery) -> tuple[int, Regression]:
        """Compute a number for each tf.Example with a model.

        Returns:
            The version that ran, and its regression.

        Raises:
            StatusError: NOT_FOUND, or any error of regress().
        """
        with self._manager.servable(ref) as servable:
            engine = self._wrap(servable, "Regress")
            answer = regress(engine, query, check_method=self._check_methods)
        self._count_examples(ref, query)
        return servable.id.version, answer

    def multi_inference(
        self, ref: ModelRef, query: MultiInferenceQuery
    ) -> tuple[int, list[Result]]:
        """Run several signatures of a model on the same tf.Examples.

        Returns:
            The version that ran, and the result of each task.

        Raises:
            StatusError: NOT_FOUND, or any error of multi_inference().
        """
        with self._manager.servable(ref) as servable:
            # Its runs are not reported as a request's, as in TensorFlow Serving.
            answer = multi_inference(servable.engine, query, check_method=self._check_methods)
        self._count_examples(ref, query)
        return servable.id.version, answer

    def models(self) -> list[str]:
        """The names of all configured models."""
        return [config.name for config in self._manager.configs]

    def status(self, ref: ModelRef) -> list[VersionStatus]:
        """The states of the versions of a model, the highest first.

        Raises:
            StatusError: NOT_FOUND or INVALID_ARGUMENT.
        """
        return self._manager.statuses(ref)

    def reload(self, configs: Sequence[ModelConfig], deadline: Deadline = NO_DEADLINE) -> None:
        """Serve these models instead; see Manager.reload().

        Raises:
            StatusError: see Manager.reload().
        """
        self._manager.reload(configs, deadline, wait=True)

    def metadata(self, ref: ModelRef) -> Metadata:
        """The signatures of a model.

        Raises:
            StatusError: NOT_FOUND or INVALID_ARGUMENT.
        """
        with self._manager.servable(ref) as servable:
            return Metadata(servable.id.version, servable.engine.signatures)

    def _wrap(self, servable: Servable, api: str) -> Engine:
        if self._observer is None:
            return servable.engine
        return RequestRuns(servable.engine, servable.id.model, api, self._observer)

    def _count_examples(self, ref: ModelRef, query: ExamplesQuery | MultiInferenceQuery) -> None:
        if self._observer is not None:
            self._observer.examples(ref.name, len(query.examples))
