"""The server's metrics; names, types, labels, buckets and text are those of TensorFlow Serving.

docs/model-server.md lists them. TensorFlow Serving does not count runs of LiteRT models, but counts
the runs that restore a SavedModel's variables; it builds a graph for each new set of inputs and
outputs. Here an engine loads a version as a whole, which counts as one build. Some metrics stay
empty, because no request is logged and engines do not expose TensorFlow's executor: they exist for
dashboards. Sources: framework/metrics.cc, and each `monitoring::` in TensorFlow Serving.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from rockstar_serving.model_server.engines.engine import Arrays
from rockstar_serving.model_server.models.config import ConfigError, parse_text_proto, read_config
from rockstar_serving.model_server.options import MonitoringOptions
from tfs_api.messages.monitoring_config_pb2 import MonitoringConfig
from tfs_api.status import Code

DEFAULT_PATH = "/monitoring/prometheus/metrics"
# Clients may request any number of models that do not exist: how many of their names, and of which
# length, are used as labels. Others count as "".
MAX_UNKNOWN_NAMES = 100
MAX_NAME_LENGTH = 256

_SERVING = ":tensorflow:serving:"
_SESSION = ":tensorflow:serving:batching_session:"
_SAVED_MODEL = ":tensorflow:cc:saved_model:"
_CORE = ":tensorflow:core:"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def read_monitoring_config(file: Path) -> MonitoringOptions:
    """Read a file in the text format of MonitoringConfig; raises ConfigError."""
    where = f"monitoring config file {file}"
    message = parse_text_proto(read_config(file, where), MonitoringConfig, where)
    prometheus = message.prometheus_config
    if not prometheus.enable:
        return MonitoringOptions()
    path = prometheus.path or DEFAULT_PATH
    if not path.startswith("/") or path.lower().startswith("/v1/models"):
        raise ConfigError(
            f"{where}: prometheus_config.path: expected one that begins with '/' and not with "
            f"/v1/models, where the REST API is, such as {DEFAULT_PATH}; got {path!r}"
        )
    return MonitoringOptions(path)


def exponential(scale: float, growth: float, count: int) -> list[float]:
    """Bounds of buckets: scale, scale * growth, scale * growth**2 and so on."""
    return list(accumulate([growth] * (count - 1), lambda bound, by: bound * by, initial=scale))


class Counter(Collector):
    """Counts for each set of label values.

    Unlike prometheus_client's, the name does not end in `_total`, and the order of labels is kept.
    """

    def __init__(self, registry: CollectorRegistry, name: str, *labels: str) -> None:
        self._name = name
        self._labels = labels
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, *values: str, amount: int = 1) -> None:
        """Add to the count of these label values."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + amount

    def collect(self) -> Iterable[Metric]:
        """All counts, ordered by label values."""
        with self._lock:
            counts = sorted(self._counts.items())
        metric = Metric(self._name, "", "counter")
        for values, count in counts:
            metric.add_sample(self._name, dict(zip(self._labels, values, strict=True)), count)
        yield metric


class Sampler(Collector):
    """Distributions of integers for each set of label values.

    prometheus_client counts a value equal to the bound of a bucket in that bucket. TensorFlow
    counts it in the next one, which matters for batches of 1, 2, 4 or 8 rows.
    """

    def __init__(
        self, registry: CollectorRegistry, name: str, bounds: Sequence[float], *labels: str
    ) -> None:
        self._name = name
        self._labels = labels
        self._bounds = bounds
        # Six digits, as in TensorFlow Serving.
        self._bound_texts = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._lock = threading.Lock()
        # The number of values in each bucket, and last their sum.
        self._distributions: dict[tuple[str, ...], list[int]] = {}
        registry.register(self)

    def add(self, value: int, *values: str) -> None:
        """Add a value to the distribution of these label values."""
        bucket = bisect_right(self._bounds, value)
        with self._lock:
            distribution = self._distributions.get(values)
            if distribution is None:
                distribution = self._distributions[values] = [0] * (len(self._bound_texts) + 1)
            distribution[bucket] += 1
            distribution[-1] += value

    def collect(self) -> Iterable[Metric]:
        """All distributions, ordered by label values."""
        with self._lock:
            found = sorted((values, list(each)) for values, each in self._distributions.items())
        metric = Metric(self._name, "", "histogram")
        for values, (*buckets, total) in found:
            labels = dict(zip(self._labels, values, strict=True))
            count = 0
            for text, size in zip(self._bound_texts, buckets, strict=True):
                count += size
                metric.add_sample(f"{self._name}_bucket", {**labels, "le": text}, count)
            metric.add_sample(f"{self._name}_sum", labels, total)
            metric.add_sample(f"{self._name}_count", labels, count)
        yield metric


class _RunTime(Sampler):
    """The histogram of run times and, without cost to a run, the counters that follow from it."""

    def collect(self) -> Iterable[Metric]:
        """The histogram, then the counters."""
        (histogram,) = super().collect()
        yield histogram
        totals = [sample.value for sample in histogram.samples[-2:]]  # sum and count; none at first
        names = ("graph_run_time_usecs", 0), ("graph_runs", 1), ("direct_session_runs", 1)
        for name, index in names:
            counter = Metric(f"{_CORE}{name}", "", "counter")
            if totals:
                counter.add_sample(counter.name, {}, totals[index])
            yield counter


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


class Monitoring:
    """The metrics of a server, and the path of their page below the REST port; thread-safe."""

    content_type = "text/plain"  # as TensorFlow Serving's

    def __init__(self, path: str = DEFAULT_PATH) -> None:
        self.registry = registry = CollectorRegistry()
        self.path = path
        times, sizes = exponential(10, 1.8, 33), exponential(1, 4, 14)
        model_api, load = ("model_name", "API"), ("model_path", "status")
        self._request_count = Counter(registry, f"{_SERVING}request_count", "model_name", "status")
        self._request_latency = Sampler(
            registry, f"{_SERVING}request_latency", times, *model_api, "entrypoint"
        )
        self._runtime_latency = Sampler(
            registry, f"{_SERVING}runtime_latency", times, *model_api, "runtime"
        )
        self._example_counts = Sampler(
            registry, f"{_SERVING}request_example_counts", exponential(1, 2, 15), "model"
        )
        self._examples = Counter(registry, f"{_SERVING}request_example_count_total", "model")
        self._warmup_latency = Sampler(registry, f"{_SERVING}model_warmup_latency", times, *load)
        self._warmup_records = Counter(registry, f"{_SERVING}model_warmup_records_read", *load)
        Counter(registry, f"{_SERVING}request_log_count", "model_name", "status_code")
        self._load_attempt_count = Counter(registry, f"{_SAVED_MODEL}load_attempt_count", *load)
        self._load_latency = Counter(registry, f"{_SAVED_MODEL}load_latency", "model_path")
        self._run_time = _RunTime(
            registry, f"{_CORE}graph_run_time_usecs_histogram", exponential(1000, 2, 20)
        )
        self._input_bytes = Sampler(registry, f"{_CORE}graph_run_input_tensor_bytes", sizes)
        self._output_bytes = Sampler(registry, f"{_CORE}graph_run_output_tensor_bytes", sizes)
        self._builds = Counter(registry, f"{_CORE}graph_build_calls")
        self._build_time = Counter(registry, f"{_CORE}graph_build_time_usecs")
        Counter(registry, f"{_CORE}graph_optimization_usecs", "kind", "name")
        queue_length = f"{_CORE}graph_pending_queue_length_histogram"
        Sampler(registry, queue_length, exponential(1, 1.5, 30))
        self._known_names: set[str] = set()
        self._unknown_names: set[str] = set()

    def page(self) -> bytes:
        """Format all metrics as text."""
        return exposition(self.registry)

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count a request whose response was made these seconds after it was parsed.

        Args:
            model: name in the request; "" if it had none.
            api: such as "Predict"; over REST "predict", and "" for status and metadata.
            entrypoint: "GRPC" or "REST".
            code: OK, or of the error.
            seconds: without reading and writing messages.
        """
        if code == Code.OK:
            self._known_names.add(model)
            self._request_latency.add(_microseconds(seconds), model, api, entrypoint)
        elif model not in self._known_names and model not in self._unknown_names:
            if len(self._unknown_names) >= MAX_UNKNOWN_NAMES or len(model) > MAX_NAME_LENGTH:
                model = ""
            else:
                self._unknown_names.add(model)
        self._request_count.add(model, code.name)

    def run(self, model: str, api: str, seconds: float) -> None:
        """Count a run of a request without an error, alone or in a batch."""
        self._runtime_latency.add(_microseconds(seconds), model, api, "TF1")

    def graph_run(self, seconds: float, feeds: Arrays, outputs: Arrays) -> None:
        """Count a run of an engine without an error, for a request, a batch or a warmup."""
        self._run_time.add(_microseconds(seconds))
        self._input_bytes.add(sum(array.nbytes for array in feeds.values()))
        self._output_bytes.add(sum(array.nbytes for array in outputs.values()))

    def examples(self, model: str, count: int) -> None:
        """Count the tf.Examples of a MultiInference request that succeeded."""
        self._example_counts.add(count, model)
        self._examples.add(model, amount=count)

    def load(self, folder: Path, *, loaded: bool, seconds: float) -> None:
        """Count a load, without its warmup."""
        self._load_attempt_count.add(str(folder), "success" if loaded else "fail")
        if loaded:
            self._load_latency.add(str(folder), amount=_microseconds(seconds))
            self._builds.add()
            self._build_time.add(amount=_microseconds(seconds))

    def warmup(self, folder: Path, code: Code, seconds: float, records: int) -> None:
        """Count a warmup that has ended or failed, and its records."""
        self._warmup_latency.add(_microseconds(seconds), str(folder), code.name)
        self._warmup_records.add(str(folder), code.name, amount=records)

    def batching(self, thread_pool_name: str) -> "BatchingMetrics":
        """Create the metrics of the batches that threads of this name run, once per server."""
        return BatchingMetrics(self.registry, thread_pool_name)


class BatchingMetrics:
    """The metrics of batching; thread-safe."""

    def __init__(self, registry: CollectorRegistry, thread_pool_name: str) -> None:
        rows, times = exponential(1, 2, 14), exponential(100, 1.2, 52)
        self._thread_pool_name = thread_pool_name
        self._input_batch_size = Sampler(registry, f"{_SESSION}input_batch_size", rows)
        self._queuing_latency = Sampler(
            registry, f"{_SESSION}queuing_latency", times, "thread_pool_name"
        )
        self._batch_size = Sampler(registry, f"{_SESSION}processed_batch_size", rows)
        self._padding_size = Sampler(
            registry, f"{_SESSION}padding_size", rows, "execution_batch_size"
        )
        self._batches = Counter(registry, f"{_SESSION}wrapped_run_count")

    def input_batch_size(self, rows: int) -> None:
        """Count a request that enters the queue."""
        self._input_batch_size.add(rows)

    def queuing_latency(self, microseconds: float) -> None:
        """Count the time of a request that leaves the queue."""
        self._queuing_latency.add(int(microseconds), self._thread_pool_name)

    def processed_batch_size(self, rows: int, padding: int) -> None:
        """Count a batch; its rows include those of the padding."""
        self._padding_size.add(padding, str(rows))
        self._batch_size.add(rows)
        self._batches.add()


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)
