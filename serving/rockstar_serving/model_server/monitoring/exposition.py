"""Metrics as text, the way TensorFlow Serving writes them.

prometheus_client's own writer would rename the counters, and order labels by their names.
"""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(registry: CollectorRegistry) -> bytes:
    """All metrics by name, each with a TYPE line even while it is empty."""
    metrics = sorted(registry.collect(), key=lambda metric: metric.name)
    text = "".join(line for metric in metrics for line in _lines(metric))
    # A path of the file system may hold bytes that are no text.
    return text.encode(errors="replace")


def _lines(metric: Metric) -> Iterable[str]:
    yield f"# TYPE {metric.name} {metric.type}\n"
    for sample in metric.samples:
        yield f"{sample.name}{{{_labels(sample.labels)}}} {sample.value}\n"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
