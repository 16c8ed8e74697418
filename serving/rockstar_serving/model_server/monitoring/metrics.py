"""The server's metrics; names, labels and buckets are those of TensorFlow Serving.

Those of batching are in `batching.py`, those of graphs in `graphs.py`. Times are in microseconds.
Unless noted otherwise, buckets end at 10 * 1.8**n, n = 0 to 32.

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

- `status` is the name of a code, such as `OK` or `NOT_FOUND`; of loads, `success` or `fail`.
- Latencies are of requests that were answered with `OK`.
- `entrypoint` is `GRPC` or `REST`; `API` is `Predict`, `Classify` or `Regress`. The latency of a
  REST request has it in small letters, and empty for status and metadata.
- Not counted, because TensorFlow Serving does not: MultiInference, status and metadata over gRPC.
- `runtime` is `TF1`, as in TensorFlow Serving, whatever runs the model.
- `model_path` is the version's folder.

A counter or histogram appears with its labels when it first counts. Useful questions to Prometheus:

    sum by (model_name, status) (rate(:tensorflow:serving:request_count[1m]))
    histogram_quantile(0.99, sum by (le, model_name)
                       (rate(:tensorflow:serving:request_latency_bucket[5m]))) / 1000
    increase(:tensorflow:cc:saved_model:load_attempt_count{status="fail"}[1h]) > 0
"""

from pathlib import Path

from prometheus_client import CollectorRegistry

from rockstar_serving.model_server.monitoring.batching import BatchingMetrics
from rockstar_serving.model_server.monitoring.collectors import Counter, Sampler, exponential
from rockstar_serving.model_server.monitoring.graphs import GraphMetrics
from tfs_api.status import Code

_LATENCIES = exponential(10, 1.8, 33)
_POWERS_OF_TWO = exponential(1, 2, 15)

# Any caller may ask for models that there are not, under ever new names: how many of them, and how
# long, are told apart. Others count as "".
MAX_UNKNOWN_NAMES = 100
MAX_NAME_LENGTH = 256


class ServerMetrics:
    """Counts what it hears; an Observer.

    Attributes:
        registry: of all the metrics.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        serving, saved_model = ":tensorflow:serving:", ":tensorflow:cc:saved_model:"
        self._request_count = Counter(
            registry,
            f"{serving}request_count",
            ("model_name", "status"),
            "Requests by outcome.",
        )
        self._request_latency = Sampler(
            registry,
            f"{serving}request_latency",
            ("model_name", "API", "entrypoint"),
            "Microseconds for a request answered with OK.",
            _LATENCIES,
        )
        self._runtime_latency = Sampler(
            registry,
            f"{serving}runtime_latency",
            ("model_name", "API", "runtime"),
            "Microseconds of a request in the engine.",
            _LATENCIES,
        )
        self._example_counts = Sampler(
            registry,
            f"{serving}request_example_counts",
            ("model",),
            "tf.Examples in a request.",
            _POWERS_OF_TWO,
        )
        self._example_count_total = Counter(
            registry, f"{serving}request_example_count_total", ("model",), "tf.Examples."
        )
        self._warmup_latency = Sampler(
            registry,
            f"{serving}model_warmup_latency",
            ("model_path", "status"),
            "Microseconds to replay the warmup requests of a version.",
            _LATENCIES,
        )
        self._warmup_records_read = Counter(
            registry,
            f"{serving}model_warmup_records_read",
            ("model_path", "status"),
            "Warmup records of a version.",
        )
        Counter(
            registry,
            f"{serving}request_log_count",
            ("model_name", "status_code"),
            "Requests that were logged.",
        )
        self._graphs = GraphMetrics(registry)
        self._load_attempt_count = Counter(
            registry,
            f"{saved_model}load_attempt_count",
            ("model_path", "status"),
            "Loads of a version by outcome.",
        )
        self._load_latency = Counter(
            registry,
            f"{saved_model}load_latency",
            ("model_path",),
            "Microseconds for the loads of a version that succeeded.",
        )
        self._known_names: set[str] = set()
        self._unknown_names: set[str] = set()

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """See Observer."""
        if code == Code.OK:
            self._known_names.add(model)
            self._request_latency.add(_microseconds(seconds), model, api, entrypoint)
        elif model not in self._known_names:
            model = self._told_apart(model)
        self._request_count.add(model, code.name)

    def run(self, model: str, api: str, seconds: float) -> None:
        """See Observer."""
        self._runtime_latency.add(_microseconds(seconds), model, api, "TF1")

    def graph_run(self, seconds: float, input_bytes: int, output_bytes: int) -> None:
        """See Observer."""
        self._graphs.ran(_microseconds(seconds), input_bytes, output_bytes)

    def examples(self, model: str, count: int) -> None:
        """See Observer."""
        self._example_counts.add(count, model)
        self._example_count_total.add(model, amount=count)

    def load(self, folder: Path, *, loaded: bool, seconds: float) -> None:
        """See Observer."""
        self._load_attempt_count.add(str(folder), "success" if loaded else "fail")
        if loaded:
            self._load_latency.add(str(folder), amount=_microseconds(seconds))
            self._graphs.built(_microseconds(seconds))

    def warmup(self, folder: Path, code: Code, seconds: float, records: int) -> None:
        """See Observer."""
        self._warmup_latency.add(_microseconds(seconds), str(folder), code.name)
        self._warmup_records_read.add(str(folder), code.name, amount=records)

    def batching(self, thread_pool_name: str) -> BatchingMetrics:
        """See Observer; once, for the names of the metrics can be given only once."""
        return BatchingMetrics(self.registry, thread_pool_name)

    def _told_apart(self, model: str) -> str:
        if model not in self._unknown_names:
            if len(self._unknown_names) >= MAX_UNKNOWN_NAMES or len(model) > MAX_NAME_LENGTH:
                return ""
            self._unknown_names.add(model)
        return model


def _microseconds(seconds: float) -> int:
    return int(seconds * 1e6)
