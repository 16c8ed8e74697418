"""Drift of inputs and predicted labels from the training data.

Measured by the population stability index over the bins of a histogram, the sum of
(now - then) * ln(now / then). As a rule of thumb, below 0.1 is stable and above 0.25 has changed.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract, ImageInput

# The index covers the last one to two half windows of examples.
_HALF_WINDOW = 500
# Examples between updates; with fewer, chance alone would look like drift.
LEAST_EXAMPLES = 100
# Examples are counted in groups, because one by one takes several times as long.
_STEP = 20
# Replaces an empty bin, which has no logarithm.
_FLOOR = 1e-4


def population_stability(expected: NDArray[Any], counts: NDArray[Any]) -> float:
    """Population stability index of counts [bins] against expected shares [bins]; 0 if equal."""
    then = np.maximum(expected, _FLOOR)
    now = np.maximum(counts / counts.sum(), _FLOOR)
    return float(np.sum((now - then) * np.log(now / then)))


@dataclass(frozen=True)
class Indices:
    """Population stability indices of recent examples.

    Attributes:
        inputs: of the input values.
        labels: of the predicted labels; None for a model without labels.
    """

    inputs: float
    labels: float | None


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

    def observe(self, inputs: NDArray[Any], outputs: NDArray[Any]) -> Indices | None:
        """Add a batch.

        Args:
            inputs: float32 [n, *shape].
            outputs: the model's answers [n, width].

        Returns:
            The indices, once every LEAST_EXAMPLES examples; None in between.
        """
        with self._lock:
            self._waiting.append((inputs, outputs))
            self._examples += len(inputs)
            if self._examples < _STEP:
                return None
            batches, self._waiting, self._examples = self._waiting, [], 0
        counts = self._count(batches)
        with self._lock:
            if self._now[0] >= _HALF_WINDOW:
                self._before, self._now = self._now, np.zeros_like(self._now)
            self._now = self._now + counts
            self._new += int(counts[0])
            if self._new < LEAST_EXAMPLES:
                return None
            self._new = 0
            recent = self._before + self._now
        values, labels = recent[1 : 1 + len(self._values)], recent[1 + len(self._values) :]
        return Indices(
            population_stability(self._values, values),
            population_stability(self._labels, labels) if len(labels) else None,
        )

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
