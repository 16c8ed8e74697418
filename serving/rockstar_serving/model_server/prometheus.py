"""Counters and histograms with TensorFlow's semantics, and their text format.

prometheus_client's own differ: it adds `_total` to the names of counters, orders labels by name,
and counts a value equal to the bound of a bucket in that bucket. TensorFlow counts it in the next
one, which matters for batches of 1, 2, 4 or 8 rows.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

LabelValues = tuple[str, ...]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exponential(scale: float, growth: float, count: int) -> list[float]:
    """Bounds of buckets: scale, scale * growth, scale * growth**2 and so on."""
    return list(accumulate([growth] * (count - 1), lambda bound, by: bound * by, initial=scale))


class Counter(Collector):
    """Counts for each set of label values."""

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
        """Add to the count of these label values."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + amount

    def collect(self) -> Iterable[Metric]:
        """All counts, ordered by label values."""
        with self._lock:
            counts = sorted(self._counts.items())
        metric = Metric(self._name, self._documentation, "counter")
        for values, count in counts:
            metric.add_sample(self._name, dict(zip(self._labels, values, strict=True)), count)
        yield metric


class Sampler(Collector):
    """Distributions of integers for each set of label values."""

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
        # Six digits, as in TensorFlow Serving.
        self._bound_texts = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._lock = threading.Lock()
        self._distributions: dict[LabelValues, _Distribution] = {}
        registry.register(self)

    def add(self, value: int, *values: str) -> None:
        """Add a value to the distribution of these label values."""
        bucket = bisect_right(self._bounds, value)
        with self._lock:
            distribution = self._distributions.get(values)
            if distribution is None:
                distribution = self._distributions[values] = _Distribution(len(self._bound_texts))
            distribution.buckets[bucket] += 1
            distribution.sum += value

    def collect(self) -> Iterable[Metric]:
        """All distributions, ordered by label values."""
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
    """The number of values in each bucket, and their sum."""

    __slots__ = ("buckets", "sum")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        self.sum = 0


def exposition(registry: CollectorRegistry) -> bytes:
    """Format all metrics, by name, as TensorFlow Serving does: with a TYPE line even if empty."""
    lines = []
    for metric in sorted(registry.collect(), key=lambda metric: metric.name):
        lines.append(f"# TYPE {metric.name} {metric.type}\n")
        for sample in metric.samples:
            labels = ",".join(
                f'{name}="{value.translate(_ESCAPES)}"' for name, value in sample.labels.items()
            )
            lines.append(f"{sample.name}{{{labels}}} {sample.value}\n")
    # A file system path may hold bytes that are not text.
    return "".join(lines).encode(errors="replace")
