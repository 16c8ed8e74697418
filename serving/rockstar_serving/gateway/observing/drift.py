"""How far what a model is asked now lies from what it was trained on.

The measure is the population stability index over shares of a histogram: the sum of
(now - then) * ln(now / then). A common reading: under 0.1 is stable, above 0.25 has changed.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract, ImageInput

# Examples that a judgement is of: the last one to two halves of the window.
_HALF_WINDOW = 500
# After so many it is judged; with fewer, chance alone would look like drift.
LEAST_EXAMPLES = 100
# Examples that are counted together: one by one would take several times as long.
_STEP = 20
# Instead of an empty bin, whose logarithm has no value.
_FLOOR = 1e-4


def population_stability(expected: NDArray[Any], counts: NDArray[Any]) -> float:
    """The index of counts against expected shares, both [bins]; 0 is the same distribution."""
    then = np.maximum(expected, _FLOOR)
    now = np.maximum(counts / counts.sum(), _FLOOR)
    return float(np.sum((now - then) * np.log(now / then)))


@dataclass
class _Counts:
    """Of some examples: how many values fell into each bin, and how many answers on each label."""

    examples: int
    values: NDArray[np.intp]
    labels: NDArray[np.intp]

    def add(self, other: "_Counts") -> "_Counts":
        return _Counts(
            self.examples + other.examples,
            self.values + other.values,
            self.labels + other.labels,
        )


@dataclass(frozen=True)
class Indices:
    """Population stability indices of recent examples.

    Attributes:
        inputs: of the values of the inputs.
        labels: of the answered labels; None where a model has none.
    """

    inputs: float
    labels: float | None


class Drift:
    """Of one version of a model: its recent inputs and answers against its contract's statistics.

    Safe in several threads.
    """

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
        self._before, self._now = self._none(), self._none()
        # Examples that were counted since the last judgement.
        self._unjudged = 0
        # Inputs and outputs that are not counted yet, and how many examples they are.
        self._waiting: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._examples = 0

    def observe(self, inputs: NDArray[Any], outputs: NDArray[Any]) -> Indices | None:
        """Note a batch: float32 [n, *shape] and what the model answered, [n, width].

        Returns:
            The indices, now and then; None in between, and until there are enough examples.
        """
        with self._lock:
            self._waiting.append((inputs, outputs))
            self._examples += len(inputs)
            if self._examples < _STEP:
                return None
            batches, self._waiting, self._examples = self._waiting, [], 0
        seen = self._counted(batches)
        with self._lock:
            if self._now.examples >= _HALF_WINDOW:
                self._before, self._now = self._now, self._none()
            self._now = self._now.add(seen)
            self._unjudged += seen.examples
            if self._unjudged < LEAST_EXAMPLES:
                return None
            self._unjudged = 0
            recent = self._before.add(self._now)
        return self._indices(recent)

    def _counted(self, batches: list[tuple[NDArray[Any], NDArray[Any]]]) -> _Counts:
        seen = self._none()
        seen.examples = sum(len(inputs) for inputs, _ in batches)
        values = np.concatenate([inputs.ravel() for inputs, _ in batches])
        bins = ((values - self._low) * self._scale).astype(np.intp)
        np.clip(bins, 0, len(self._values) - 1, out=bins)
        seen.values = np.bincount(bins, minlength=len(self._values))
        if len(self._labels):
            answers = np.concatenate([outputs for _, outputs in batches]).argmax(axis=1)
            seen.labels = np.bincount(answers, minlength=len(self._labels))
        return seen

    def _indices(self, recent: _Counts) -> Indices:
        inputs = population_stability(self._values, recent.values)
        if not len(self._labels):
            return Indices(inputs, None)
        return Indices(inputs, population_stability(self._labels, recent.labels))

    def _none(self) -> _Counts:
        values, labels = (np.zeros(len(bins), np.intp) for bins in (self._values, self._labels))
        return _Counts(0, values, labels)
