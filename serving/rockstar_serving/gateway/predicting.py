"""Predictions by a model's contract, routed, copied to shadows and told to the observers."""

from collections.abc import Callable
from functools import partial

import numpy as np

from rockstar_client.predictor import Batch, Predicted, Predictor
from rockstar_contract.contract import Input
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.observers import Comparison, Observer
from rockstar_serving.gateway.preparing import PreprocessingLimiter
from rockstar_serving.gateway.routing import Destination, Router
from rockstar_serving.gateway.shadowing import TIMEOUT_S, Shadows, compare
from tfs_api.status import Code


class GatewayPredictor:
    """What views predict with; thread-safe, within a request only."""

    def __init__(
        self,
        predictor: Predictor,
        behind: Predictor,
        router: Router,
        shadows: Shadows,
        observer: Observer,
        preparing: PreprocessingLimiter,
    ) -> None:
        """Lay it around predictors.

        Args:
            predictor: for requests.
            behind: for their copies, which no request waits for.
            router: decides where they go.
            shadows: makes copies.
            observer: told of every answer.
            preparing: limits concurrent preprocessing.
        """
        self._predictor = predictor
        self._behind = behind
        self._router = router
        self._shadows = shadows
        self._observer = observer
        self._preparing = preparing

    def predict(
        self,
        model: str,
        prepare: Callable[[Input], Batch],
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float,
        made_up: bool = False,
    ) -> Predicted:
        """Ask a model; see rockstar_client.predictor.Predictor, and model may be an alias.

        Of examples that are made up, that nobody sent, shadows and observers learn nothing.
        """
        prepare_in_turn = partial(self._preparing.run, prepare)

        def call(to: Destination) -> Predicted:
            predicted = self._predictor.predict(
                to.model, prepare_in_turn, version=to.version, label=to.label, timeout=timeout
            )
            context().version = predicted.contract.version
            if made_up:
                return predicted
            self._observer.predicted(to.model, predicted)
            if (shadow := to.shadow) is not None:
                self._shadows.offer(to.model, lambda: self._compared(predicted, shadow, prepare))
            return predicted

        return self._router.follow(model, version, label, call)

    def _compared(
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
