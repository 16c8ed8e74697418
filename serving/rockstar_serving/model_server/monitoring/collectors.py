"""Counters and samplers with TensorFlow's semantics, as collectors of prometheus_client.

prometheus_client's own differ: its counters' names end in `_total`, and to it a value on the bound
of a bucket belongs to that bucket. To TensorFlow it belongs to the next one, which makes all the
difference for batches of 1, 2, 4 or 8 rows.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

LabelValues = tuple[str, ...]


def exponential(scale: float, growth: float, count: int) -> list[float]:
    """Bounds of buckets: scale, scale * growth, scale * growth**2 and so on."""
    return list(accumulate([growth] * (count - 1), lambda bound, by: bound * by, initial=scale))


class Counter(Collector):
    """Counts, one for each set of label values."""

    def __init__(
        self, registry: CollectorRegistry, name: str, labels: Sequence[str], documentation: str
    ) -> None:
        self._name = name
        self._labels = labels
        self._documentation = documentation
        self._lock = threading.Lock()
        self._counts: dict[LabelValues, int] = {}
        registry.register(self)

    def add(self, *values: str, amount: int = 1) -> None:
        """Count for these label values."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + amount

    def collect(self) -> Iterable[Metric]:
        """All counts, in the order of the label values."""
        with self._lock:
            counts = sorted(self._counts.items())
        metric = Metric(self._name, self._documentation, "counter")
        for values, count in counts:
            metric.add_sample(self._name, dict(zip(self._labels, values, strict=True)), count)
        yield metric


class Sampler(Collector):
    """Distributions of whole numbers, one for each set of label values."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        labels: Sequence[str],
        documentation: str,
        bounds: Sequence[float],
    ) -> None:
        self._name = name
        self._labels = labels
        self._documentation = documentation
        self._bounds = bounds
        # As TensorFlow Serving writes them: six digits.
        self._bound_texts = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._lock = threading.Lock()
        self._distributions: dict[LabelValues, _Distribution] = {}
        registry.register(self)

    def add(self, value: int, *values: str) -> None:
        """Count a value for these label values."""
        bucket = bisect_right(self._bounds, value)
        with self._lock:
            distribution = self._distributions.get(values)
            if distribution is None:
                distribution = self._distributions[values] = _Distribution(len(self._bound_texts))
            distribution.buckets[bucket] += 1
            distribution.sum += value

    def collect(self) -> Iterable[Metric]:
        """All distributions, in the order of the label values."""
        with self._lock:
            found = sorted(
                (values, list(accumulate(distribution.buckets)), distribution.sum)
                for values, distribution in self._distributions.items()
            )
        metric = Metric(self._name, self._documentation, "histogram")
        for values, cumulated, total in found:
            labels = dict(zip(self._labels, values, strict=True))
            for text, count in zip(self._bound_texts, cumulated, strict=True):
                metric.add_sample(f"{self._name}_bucket", {**labels, "le": text}, count)
            metric.add_sample(f"{self._name}_sum", labels, total)
            metric.add_sample(f"{self._name}_count", labels, cumulated[-1])
        yield metric


class _Distribution:
    """How many values fell into each bucket, and their sum."""

    __slots__ = ("buckets", "sum")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        self.sum = 0
