"""Predictions by a model's contract: routed, preprocessed, observed and copied to shadows."""

import threading
from collections.abc import Callable

import numpy as np

from rockstar_client.predictor import Batch, Predicted, Predictor
from rockstar_contract.contract import Input
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.observers import Comparison, Observer
from rockstar_serving.gateway.routing import Destination, Router
from rockstar_serving.gateway.shadowing import TIMEOUT_S, Shadows, compare
from tfs_api.status import Code


class GatewayPredictor:
    """Predicts for the views; thread-safe."""

    def __init__(
        self,
        predictor: Predictor,
        behind: Predictor,
        router: Router,
        shadows: Shadows,
        observer: Observer,
        preprocess_at_once: int,
    ) -> None:
        """Combine the parts.

        Args:
            predictor: for requests.
            behind: for copies to shadows.
            router: picks destinations.
            shadows: makes copies.
            observer: notified of every prediction.
            preprocess_at_once: requests that preprocess at a time. More would not be faster, and
                decoded images are large.
        """
        self._predictor = predictor
        self._behind = behind
        self._router = router
        self._shadows = shadows
        self._observer = observer
        self._preprocessing = threading.Semaphore(preprocess_at_once)

    def predict(
        self,
        current: RequestContext,
        prepare: Callable[[Input], Batch],
        *,
        version: int | None = None,
        label: str | None = None,
        synthetic: bool = False,
    ) -> Predicted:
        """Predict a batch; see rockstar_client.predictor.Predictor.predict.

        Args:
            current: the request; its model may be an alias, and its deadline is the timeout.
            prepare: preprocesses the batch for the input that a contract describes.
            version: number; None is the newest, or what the routes file says.
            label: picks the version instead.
            synthetic: the gateway made up the examples: they are neither observed nor copied.

        Raises:
            CallError: the call failed, or the time ran out.
            InvalidInputError: raised by `prepare`.
        """
        timeout = current.time_left()

        def limited(spec: Input) -> Batch:
            while not self._preprocessing.acquire(timeout=current.time_left()):
                continue
            try:
                with current.phase("preprocess"):
                    return prepare(spec)
            finally:
                self._preprocessing.release()

        def call(to: Destination) -> Predicted:
            predicted = self._predictor.predict(
                to.model, limited, version=to.version, label=to.label, timeout=timeout
            )
            current.version = predicted.contract.version
            if synthetic:
                return predicted
            self._observer.predicted(to.model, predicted)
            if (shadow := to.shadow) is not None:
                self._shadows.offer(to.model, lambda: self._compare(predicted, shadow, prepare))
            return predicted

        return self._router.follow(current.model, version, label, call)

    def _compare(
        self, predicted: Predicted, to: Destination, prepare: Callable[[Input], Batch]
    ) -> Comparison:
        def prepared(spec: Input) -> Batch:
            return predicted.inputs if spec == predicted.contract.input else prepare(spec)

        other = self._behind.predict(
            to.model, prepared, version=to.version, label=to.label, timeout=TIMEOUT_S
        )
        labels = predicted.contract.labels
        if sorted(other.contract.labels) != sorted(labels):
            return Comparison(to.model, Code.FAILED_PRECONDITION)
        if predicted.named and other.named:
            return compare(to.model, dict(predicted.named), dict(other.named))
        outputs = other.outputs
        if other.contract.labels != labels:  # the same in another order
            outputs = outputs[:, np.array([other.contract.labels.index(name) for name in labels])]
        name = predicted.contract.output
        return compare(to.model, {name: predicted.outputs}, {name: outputs})
