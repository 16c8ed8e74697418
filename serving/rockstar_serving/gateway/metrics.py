"""Prometheus metrics, drift from the training data among them, and `GET /metrics`.

Drift is measured by the population stability index over the bins of a histogram, the sum of
(now - then) * ln(now / then). As a rule of thumb, below 0.1 is stable and above 0.25 has changed.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, request
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from rockstar_contract.contract import Contract, ImageInput
from rockstar_serving.gateway import lifecycle
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.authentication import forbidden
from rockstar_serving.gateway.context import RequestContext, context
from rockstar_serving.gateway.observers import Call, Comparison, Observer, PredictionEvent, Reason
from rockstar_serving.gateway.state import ServedModels, gateway

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# Label of models and paths that do not exist: clients must not be able to create time series.
OTHER = "other"

# The index covers the last one to two half windows of examples.
_HALF_WINDOW = 500
# Examples between updates; with fewer, chance alone would look like drift.
LEAST_EXAMPLES = 100
# Examples are counted in groups, because one by one takes several times as long.
_STEP = 20
# Replaces an empty bin, which has no logarithm.
_FLOOR = 1e-4


class MetricsObserver(Observer):
    """Keeps Prometheus metrics in a registry.

    Attributes:
        in_flight: the number of requests in the gateway; set by those who admit them.
    """

    def __init__(self, served: ServedModels, registry: CollectorRegistry) -> None:
        self._served = served
        self._drifts: dict[tuple[str, int], Drift] = {}

        def new(
            kind: Callable[..., Any], name: str, text: str, *labels: str, **options: Any
        ) -> Callable[..., Any]:
            """Create a metric; its labels() is cached, because it takes longer than counting."""
            metric = kind(f"rockstar_{name}", text, labels, registry=registry, **options)

            def new_series(*values: object) -> Any:
                lifecycle.make_room()
                return metric.labels(*values)

            return cache(new_series)

        seconds = partial(new, partial(Histogram, buckets=_SECONDS))
        sizes = partial(new, partial(Histogram, buckets=_SIZES))
        counter = partial(new, Counter)
        # Each worker sees its own share of the examples; the largest value counts.
        drift = partial(new, partial(Gauge, multiprocess_mode="livemax"))
        self._requests = counter("requests", "Requests.", "model", "version", "route", "status")
        self._seconds = seconds(
            "request_seconds", "From the first byte read to the response.", "model", "route"
        )
        self._phases = seconds(
            "phase_seconds", "Preprocess, upstream, and postprocess.", "model", "phase"
        )
        self._upstream = seconds(
            "upstream_seconds", "Calls to the model server.", "model", "method", "code"
        )
        self._rows = sizes("batch_rows", "Examples in one Predict.", "model")
        self._joined = sizes("joined_requests", "Requests in one upstream call.", "model")
        self.in_flight = Gauge(
            "rockstar_requests_in_flight",
            "Requests in the gateway, including waiting ones.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._refused = counter(
            "refused", "Rejected before any work: queue, key, rate, circuit.", "reason"
        )
        self._predictions = counter("predictions", "Answers by label.", "model", "version", "label")
        self._shadowed = counter("shadowed", "Copies of requests to shadows.", "model", "code")
        self._shadow_rows = counter(
            "shadow_rows", "Examples compared with a shadow's answer.", "model", "agreed"
        )
        self._input_drift = drift(
            "input_drift", "Population stability index of recent inputs.", "model", "version"
        )
        self._label_drift = drift(
            "label_drift", "Population stability index of recent labels.", "model", "version"
        )

    def forget(self, model: str) -> None:
        """Drop the drift statistics of a removed model; a new one of that name has others."""
        for key in [key for key in self._drifts if key[0] == model]:
            del self._drifts[key]

    def answered(self, context: RequestContext, status: int) -> None:
        """See Observer."""
        model = self._known(context)
        route = context.route or OTHER
        self._requests(model, context.version or "", route, status).inc()
        self._seconds(model, route).observe(time.monotonic() - context.started)
        for phase, seconds in context.spent.items():
            self._phases(model, phase).observe(seconds)

    def called(self, call: Call) -> None:
        """See Observer."""
        model = call.model if call.model in self._served.names else OTHER
        self._upstream(model, call.method, call.code.name).observe(call.seconds)
        if call.method == "predict":
            self._rows(model).observe(call.rows)

    def joined(self, model: str, requests: int) -> None:
        """See Observer."""
        self._joined(model).observe(requests)

    def predicted(self, event: PredictionEvent) -> None:
        """See Observer."""
        model, predicted = event.model, event.predicted
        contract = predicted.contract
        version = contract.version
        if contract.labels:
            for index in predicted.outputs.argmax(axis=1).tolist():
                self._predictions(model, version, contract.labels[index]).inc()
        if contract.statistics is None or isinstance(predicted.inputs, dict):
            return  # nothing to compare with
        drift = self._drifts.get((model, version))
        if drift is None:
            drift = self._drifts.setdefault((model, version), Drift(contract))
        indices = drift.observe(predicted.inputs, predicted.outputs)
        for gauge, index in zip((self._input_drift, self._label_drift), indices, strict=False):
            gauge(model, version).set(index)

    def shadowed(self, comparison: Comparison) -> None:
        """See Observer."""
        self._shadowed(comparison.model, comparison.code.name).inc()
        agreed, rows = comparison.agreed, comparison.rows
        self._shadow_rows(comparison.model, "true").inc(agreed)
        self._shadow_rows(comparison.model, "false").inc(rows - agreed)

    def refused(self, why: Reason) -> None:
        """See Observer."""
        self._refused(why).inc()

    def _known(self, context: RequestContext) -> str:
        if context.model in self._served.names or context.version is not None:
            return context.model
        return OTHER if context.model else ""


def population_stability(expected: NDArray[Any], counts: NDArray[Any]) -> float:
    """Population stability index of counts [bins] against expected shares [bins]; 0 if equal."""
    then = np.maximum(expected, _FLOOR)
    now = np.maximum(counts / counts.sum(), _FLOOR)
    return float(np.sum((now - then) * np.log(now / then)))


class Drift:
    """Compares recent inputs and answers with a contract's statistics; thread-safe."""

    def __init__(self, contract: Contract) -> None:
        (_, statistics), spec = contract.training_data, contract.input
        self._values = np.array(statistics.histogram)
        self._labels = np.array(statistics.label_share)
        if isinstance(spec, ImageInput):
            self._low, high = spec.range
        else:
            self._low, high = statistics.minimum, statistics.maximum
        self._scale = len(self._values) / ((high - self._low) or 1.0)
        self._lock = threading.Lock()
        # Counts of the last half window and of this one: examples, values by bin, answers by label.
        size = 1 + len(self._values) + len(self._labels)
        self._before = self._now = np.zeros(size, np.intp)
        # Examples counted since the last update.
        self._new = 0
        # Batches not counted yet, and their number of examples.
        self._waiting: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._examples = 0

    def observe(self, inputs: NDArray[Any], outputs: NDArray[Any]) -> list[float]:
        """Add a batch of inputs, float32 [n, *shape], and outputs, [n, width].

        Returns the population stability indices of recent input values and, of a model with labels,
        predicted labels once every LEAST_EXAMPLES examples, and nothing in between.
        """
        with self._lock:
            self._waiting.append((inputs, outputs))
            self._examples += len(inputs)
            if self._examples < _STEP:
                return []
            batches, self._waiting, self._examples = self._waiting, [], 0
        counts = self._count(batches)
        with self._lock:
            if self._now[0] >= _HALF_WINDOW:
                self._before, self._now = self._now, np.zeros_like(self._now)
            self._now = self._now + counts
            self._new += int(counts[0])
            if self._new < LEAST_EXAMPLES:
                return []
            self._new = 0
            recent = self._before + self._now
        values, labels = recent[1 : 1 + len(self._values)], recent[1 + len(self._values) :]
        indices = [population_stability(self._values, values)]
        if len(labels):
            indices.append(population_stability(self._labels, labels))
        return indices

    def _count(self, batches: list[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[np.intp]:
        values = np.concatenate([inputs.ravel() for inputs, _ in batches])
        bins = ((values - self._low) * self._scale).astype(np.intp)
        np.clip(bins, 0, len(self._values) - 1, out=bins)
        counts = [
            np.array([sum(len(inputs) for inputs, _ in batches)]),
            np.bincount(bins, minlength=len(self._values)),
        ]
        if len(self._labels):
            answers = np.concatenate([outputs for _, outputs in batches]).argmax(axis=1)
            counts.append(np.bincount(answers, minlength=len(self._labels)))
        return np.concatenate(counts)


_blueprint = Blueprint("metrics", __name__)


@_blueprint.get("/metrics")
def metrics() -> Response:
    """The metrics of all workers together, in the format that the scraper accepts."""
    if not gateway().keys.reads_metrics(context().caller):
        raise forbidden(context(), "the metrics, which name all models")
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    folder = os.environ.get(lifecycle.VARIABLE)
    if folder is None:
        return Response(encode(current_app.extensions["metrics"]), content_type=content_type)
    registry = CollectorRegistry()
    with lifecycle.reading(folder):
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return Response(encode(registry), content_type=content_type)


API = Api("metrics", _blueprint, unlimited=True)
