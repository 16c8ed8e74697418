"""The metrics of batching; names, labels and buckets are those of TensorFlow Serving.

| :tensorflow:serving:batching_session: | type      | labels               | counts               |
| ------------------------------------- | --------- | -------------------- | -------------------- |
| input_batch_size                      | histogram |                      | rows of a request    |
| queuing_latency                       | histogram | thread_pool_name     | its time in a queue  |
| processed_batch_size                  | histogram |                      | rows of a batch      |
| padding_size                          | histogram | execution_batch_size | of these, padding    |
| wrapped_run_count                     | counter   |                      | batches              |

Buckets end at 2**n rows, n = 0 to 13, and at 100 * 1.2**n microseconds, n = 0 to 51. The rows of a
batch include its padding.
"""

from prometheus_client import CollectorRegistry

from rockstar_serving.model_server.monitoring.collectors import Counter, Sampler, exponential

_ROWS = exponential(1, 2, 14)
_LATENCIES = exponential(100, 1.2, 52)


class BatchingMetrics:
    """Counts what it hears; a BatchingObserver."""

    def __init__(self, registry: CollectorRegistry, thread_pool_name: str) -> None:
        self._thread_pool_name = thread_pool_name
        session = ":tensorflow:serving:batching_session:"
        self._input_batch_size = Sampler(
            registry, f"{session}input_batch_size", (), "Rows of a request.", _ROWS
        )
        self._queuing_latency = Sampler(
            registry,
            f"{session}queuing_latency",
            ("thread_pool_name",),
            "Microseconds of a request in a queue.",
            _LATENCIES,
        )
        self._processed_batch_size = Sampler(
            registry, f"{session}processed_batch_size", (), "Rows of a batch, with padding.", _ROWS
        )
        self._padding_size = Sampler(
            registry,
            f"{session}padding_size",
            ("execution_batch_size",),
            "Rows of a batch that are padding.",
            _ROWS,
        )
        self._wrapped_run_count = Counter(registry, f"{session}wrapped_run_count", (), "Batches.")

    def input_batch_size(self, rows: int) -> None:
        """See BatchingObserver."""
        self._input_batch_size.add(rows)

    def queuing_latency(self, microseconds: float) -> None:
        """See BatchingObserver."""
        self._queuing_latency.add(int(microseconds), self._thread_pool_name)

    def processed_batch_size(self, rows: int, padding: int) -> None:
        """See BatchingObserver."""
        self._padding_size.add(padding, str(rows))
        self._processed_batch_size.add(rows)
        self._wrapped_run_count.add()
