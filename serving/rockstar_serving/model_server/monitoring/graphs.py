"""The metrics of graphs; names, types and buckets are those of TensorFlow (framework/metrics.cc).

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

A batch is one run, and so is a warmup request. TensorFlow Serving counts no runs of LiteRT models
and the runs that restore a SavedModel's variables; it builds a graph for each set of inputs and
outputs that is first asked for. Here an engine loads a version as a whole, which counts as one
build. The last two describe TensorFlow's executor, which engines do not expose: dashboards find the
names, without values.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric

from rockstar_serving.model_server.monitoring.collectors import Counter, Sampler, exponential

_CORE = ":tensorflow:core:"
_TIMES = exponential(1000, 2, 20)
_BYTES = exponential(1, 4, 14)


class GraphMetrics:
    """Counts runs and builds of all models together, as TensorFlow does: without labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._time = _RunTime(
            registry, f"{_CORE}graph_run_time_usecs_histogram", (), "Microseconds of a run.", _TIMES
        )
        self._input_bytes = Sampler(
            registry, f"{_CORE}graph_run_input_tensor_bytes", (), "Bytes of the inputs.", _BYTES
        )
        self._output_bytes = Sampler(
            registry, f"{_CORE}graph_run_output_tensor_bytes", (), "Bytes of the outputs.", _BYTES
        )
        self._builds = Counter(registry, f"{_CORE}graph_build_calls", (), "Versions loaded.")
        self._build_time = Counter(
            registry, f"{_CORE}graph_build_time_usecs", (), "Microseconds for these."
        )
        Counter(
            registry,
            f"{_CORE}graph_optimization_usecs",
            ("kind", "name"),
            "Microseconds to optimize graphs.",
        )
        Sampler(
            registry,
            f"{_CORE}graph_pending_queue_length_histogram",
            (),
            "Operations that are ready and do not run.",
            exponential(1, 1.5, 30),
        )

    def ran(self, microseconds: int, input_bytes: int, output_bytes: int) -> None:
        """Count a run."""
        self._time.add(microseconds)
        self._input_bytes.add(input_bytes)
        self._output_bytes.add(output_bytes)

    def built(self, microseconds: int) -> None:
        """Count a version that was loaded."""
        self._builds.add()
        self._build_time.add(amount=microseconds)


class _RunTime(Sampler):
    """The histogram of run times and, at no cost to a run, the counters that follow from it."""

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
