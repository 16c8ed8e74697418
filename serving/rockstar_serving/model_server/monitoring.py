"""The server's metrics; names, types, labels and buckets are those of TensorFlow Serving.

Times are in microseconds. Unless noted otherwise, buckets end at 10 * 1.8**n, n = 0 to 32.

| :tensorflow:serving:        | type      | labels                      | counts              |
| --------------------------- | --------- | --------------------------- | ------------------- |
| request_count               | counter   | model_name, status          | requests by outcome |
| request_latency             | histogram | model_name, API, entrypoint | time of a request   |
| runtime_latency             | histogram | model_name, API, runtime    | its time in engines |
| request_example_counts      | histogram | model (buckets end at 2**n) | tf.Examples of each |
| request_example_count_total | counter   | model                       | tf.Examples         |
| model_warmup_latency        | histogram | model_path, status          | time of a warmup    |
| model_warmup_records_read   | counter   | model_path, status          | its records         |
| request_log_count           | counter   | model_name, status_code     | never: no log       |

| :tensorflow:cc:saved_model: | type      | labels                      | counts              |
| --------------------------- | --------- | --------------------------- | ------------------- |
| load_attempt_count          | counter   | model_path, status          | loads by outcome    |
| load_latency                | counter   | model_path                  | time of loads       |

- `status` is the name of a code, such as `OK` or `NOT_FOUND`; for loads, `success` or `fail`.
- Latencies are of requests that were answered with `OK`.
- `entrypoint` is `GRPC` or `REST`; `API` is `Predict`, `Classify` or `Regress`. In the latency of a
  REST request it is in lower case, and empty for status and metadata.
- MultiInference, status and metadata over gRPC are not counted, as in TensorFlow Serving.
- `runtime` is `TF1`, as in TensorFlow Serving, whatever runs the model.
- `model_path` is the version's folder.

Batching; buckets end at 2**n rows, n = 0 to 13, and at 100 * 1.2**n microseconds, n = 0 to 51. The
rows of a batch include its padding.

| :tensorflow:serving:batching_session: | type      | labels               | counts              |
| ------------------------------------- | --------- | -------------------- | ------------------- |
| input_batch_size                      | histogram |                      | rows of a request   |
| queuing_latency                       | histogram | thread_pool_name     | its time in a queue |
| processed_batch_size                  | histogram |                      | rows of a batch     |
| padding_size                          | histogram | execution_batch_size | of these, padding   |
| wrapped_run_count                     | counter   |                      | batches             |

Graphs (framework/metrics.cc), of all models together:

| :tensorflow:core:                    | type      | counts                               |
| ------------------------------------ | --------- | ------------------------------------ |
| graph_runs                           | counter   | runs of a model                      |
| direct_session_runs                  | counter   | the same                             |
| graph_run_time_usecs                 | counter   | their time in microseconds           |
| graph_run_time_usecs_histogram       | histogram | time of a run (1000 * 2**n, n to 19) |
| graph_run_input_tensor_bytes         | histogram | bytes of its inputs (4**n, n to 13)  |
| graph_run_output_tensor_bytes        | histogram | bytes of its outputs (likewise)      |
| graph_build_calls                    | counter   | versions loaded                      |
| graph_build_time_usecs               | counter   | their time in microseconds           |
| graph_optimization_usecs             | counter   | always empty                         |
| graph_pending_queue_length_histogram | histogram | always empty                         |

A batch is one run, and so is a warmup request. TensorFlow Serving does not count runs of LiteRT
models, but counts the runs that restore a SavedModel's variables; it builds a graph for each new
set of inputs and outputs. Here an engine loads a version as a whole, which counts as one build. The
last two describe TensorFlow's executor, which engines do not expose: they exist for dashboards.

A counter or histogram appears with its labels when it first counts. Useful queries:

    sum by (model_name, status) (rate(:tensorflow:serving:request_count[1m]))
    histogram_quantile(0.99, sum by (le, model_name)
                       (rate(:tensorflow:serving:request_latency_bucket[5m]))) / 1000
    increase(:tensorflow:cc:saved_model:load_attempt_count{status="fail"}[1h]) > 0
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.options import MonitoringOptions
from rockstar_serving.model_server.prometheus import Counter, Sampler, exponential, exposition
from rockstar_serving.model_server.text_proto import parse_text_proto, read_config
from tfs_api.messages.monitoring_config_pb2 import MonitoringConfig
from tfs_api.status import Code

DEFAULT_PATH = "/monitoring/prometheus/metrics"

_SERVING = ":tensorflow:serving:"
_SESSION = ":tensorflow:serving:batching_session:"
_SAVED_MODEL = ":tensorflow:cc:saved_model:"
_CORE = ":tensorflow:core:"

_LATENCIES = exponential(10, 1.8, 33)
_EXAMPLES = exponential(1, 2, 15)
_ROWS = exponential(1, 2, 14)
_QUEUING_LATENCIES = exponential(100, 1.2, 52)
_RUN_TIMES = exponential(1000, 2, 20)
_BYTES = exponential(1, 4, 14)

# Clients may request any number of models that do not exist: how many of their names, and of which
# length, are used as labels. Others count as "".
MAX_UNKNOWN_NAMES = 100
MAX_NAME_LENGTH = 256


def read_monitoring_config(file: Path) -> MonitoringOptions:
    """Read a monitoring config file.

    Args:
        file: in the text format of MonitoringConfig.

    Raises:
        ConfigError: the file cannot be read, is in another format, or has an invalid path.
    """
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


class _Metrics:
    """Creates metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(self.registry, name, labels, documentation)

    def _histogram(
        self, name: str, documentation: str, bounds: Sequence[float], *labels: str
    ) -> Sampler:
        return Sampler(self.registry, name, labels, documentation, bounds)


class Monitoring(_Metrics):
    """The metrics of a server; an Observer.

    Attributes:
        registry: of all metrics.
        path: of the metrics page, below the REST port.
        content_type: of the page.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, path: str = DEFAULT_PATH) -> None:
        """Create metrics that are all zero.

        Args:
            path: of the page.
        """
        super().__init__(CollectorRegistry())
        self.path = path
        counter, histogram = self._counter, self._histogram
        self._request_count = counter(
            f"{_SERVING}request_count", "Requests by outcome.", "model_name", "status"
        )
        self._request_latency = histogram(
            f"{_SERVING}request_latency",
            "Microseconds for a request answered with OK.",
            _LATENCIES,
            *("model_name", "API", "entrypoint"),
        )
        self._runtime_latency = histogram(
            f"{_SERVING}runtime_latency",
            "Microseconds of a request in the engine.",
            _LATENCIES,
            *("model_name", "API", "runtime"),
        )
        self._example_counts = histogram(
            f"{_SERVING}request_example_counts", "tf.Examples in a request.", _EXAMPLES, "model"
        )
        self._example_count_total = counter(
            f"{_SERVING}request_example_count_total", "tf.Examples.", "model"
        )
        self._warmup_latency = histogram(
            f"{_SERVING}model_warmup_latency",
            "Microseconds to replay the warmup requests of a version.",
            _LATENCIES,
            *("model_path", "status"),
        )
        self._warmup_records_read = counter(
            f"{_SERVING}model_warmup_records_read",
            "Warmup records of a version.",
            *("model_path", "status"),
        )
        counter(f"{_SERVING}request_log_count", "Logged requests.", "model_name", "status_code")
        self._load_attempt_count = counter(
            f"{_SAVED_MODEL}load_attempt_count",
            "Loads of a version by outcome.",
            *("model_path", "status"),
        )
        self._load_latency = counter(
            f"{_SAVED_MODEL}load_latency",
            "Microseconds for the successful loads of a version.",
            "model_path",
        )
        self._run_time = _RunTime(
            self.registry,
            *(f"{_CORE}graph_run_time_usecs_histogram", (), "Microseconds of a run.", _RUN_TIMES),
        )
        self._input_bytes = histogram(
            f"{_CORE}graph_run_input_tensor_bytes", "Bytes of the inputs.", _BYTES
        )
        self._output_bytes = histogram(
            f"{_CORE}graph_run_output_tensor_bytes", "Bytes of the outputs.", _BYTES
        )
        self._builds = counter(f"{_CORE}graph_build_calls", "Versions loaded.")
        self._build_time = counter(f"{_CORE}graph_build_time_usecs", "Microseconds for these.")
        counter(
            f"{_CORE}graph_optimization_usecs", "Microseconds to optimize graphs.", "kind", "name"
        )
        histogram(
            f"{_CORE}graph_pending_queue_length_histogram",
            "Operations that are ready and do not run.",
            exponential(1, 1.5, 30),
        )
        self._known_names: set[str] = set()
        self._unknown_names: set[str] = set()

    def page(self) -> bytes:
        """Format all metrics as text."""
        return exposition(self.registry)

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count a request; see Observer."""
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
        """Count a run of a request; see Observer."""
        self._runtime_latency.add(_microseconds(seconds), model, api, "TF1")

    def graph_run(self, seconds: float, input_bytes: int, output_bytes: int) -> None:
        """Count a run of an engine; see Observer."""
        self._run_time.add(_microseconds(seconds))
        self._input_bytes.add(input_bytes)
        self._output_bytes.add(output_bytes)

    def examples(self, model: str, count: int) -> None:
        """Count the examples of a request; see Observer."""
        self._example_counts.add(count, model)
        self._example_count_total.add(model, amount=count)

    def load(self, folder: Path, *, loaded: bool, seconds: float) -> None:
        """Count a load; see Observer."""
        self._load_attempt_count.add(str(folder), "success" if loaded else "fail")
        if loaded:
            self._load_latency.add(str(folder), amount=_microseconds(seconds))
            self._builds.add()
            self._build_time.add(amount=_microseconds(seconds))

    def warmup(self, folder: Path, code: Code, seconds: float, records: int) -> None:
        """Count a warmup; see Observer."""
        self._warmup_latency.add(_microseconds(seconds), str(folder), code.name)
        self._warmup_records_read.add(str(folder), code.name, amount=records)

    def batching(self, thread_pool_name: str) -> "BatchingMetrics":
        """Create the metrics of batching, once per server; see Observer."""
        return BatchingMetrics(self.registry, thread_pool_name)


class BatchingMetrics(_Metrics):
    """The metrics of batching; a BatchingObserver."""

    def __init__(self, registry: CollectorRegistry, thread_pool_name: str) -> None:
        super().__init__(registry)
        self._thread_pool_name = thread_pool_name
        self._input_batch_size = self._histogram(
            f"{_SESSION}input_batch_size", "Rows of a request.", _ROWS
        )
        self._queuing_latency = self._histogram(
            f"{_SESSION}queuing_latency",
            "Microseconds of a request in a queue.",
            _QUEUING_LATENCIES,
            "thread_pool_name",
        )
        self._processed_batch_size = self._histogram(
            f"{_SESSION}processed_batch_size", "Rows of a batch, with padding.", _ROWS
        )
        self._padding_size = self._histogram(
            f"{_SESSION}padding_size",
            "Rows of a batch that are padding.",
            _ROWS,
            "execution_batch_size",
        )
        self._wrapped_run_count = self._counter(f"{_SESSION}wrapped_run_count", "Batches.")

    def input_batch_size(self, rows: int) -> None:
        """Count a request; see BatchingObserver."""
        self._input_batch_size.add(rows)

    def queuing_latency(self, microseconds: float) -> None:
        """Count the time of a request in the queue; see BatchingObserver."""
        self._queuing_latency.add(int(microseconds), self._thread_pool_name)

    def processed_batch_size(self, rows: int, padding: int) -> None:
        """Count a batch; see BatchingObserver."""
        self._padding_size.add(padding, str(rows))
        self._processed_batch_size.add(rows)
        self._wrapped_run_count.add()


class _RunTime(Sampler):
    """The histogram of run times and, without cost to a run, the counters that follow from it."""

    def collect(self) -> Iterable[Metric]:
        """The histogram, then the counters."""
        (histogram,) = super().collect()
        yield histogram
        totals = {
            sample.name.removeprefix(f"{histogram.name}_"): sample.value
            for sample in histogram.samples[-2:]
        }
        for name, total in (
            ("graph_runs", "count"),
            ("direct_session_runs", "count"),
            ("graph_run_time_usecs", "sum"),
        ):
            counter = Metric(f"{_CORE}{name}", "Runs, or their time.", "counter")
            if total in totals:
                counter.add_sample(f"{_CORE}{name}", {}, totals[total])
            yield counter


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)
