"""What batching tells those who measure it."""

from typing import Protocol


class BatchingObserver(Protocol):
    """Hears of requests and batches; called from many threads.

    The methods are named as TensorFlow Serving's metrics below
    `/tensorflow/serving/batching_session/`.
    """

    def input_batch_size(self, rows: int) -> None:
        """A request of so many rows goes into the queue."""
        ...

    def queuing_latency(self, microseconds: float) -> None:
        """A request leaves the queue after so long."""
        ...

    def processed_batch_size(self, rows: int) -> None:
        """A batch of so many rows, padding included, is run."""
        ...

    def padding_size(self, rows: int, execution_batch_size: int) -> None:
        """So many rows of a batch are padding.

        Args:
            rows: of padding.
            execution_batch_size: of the batch, padding included.
        """
        ...


class NoObserver:
    """Measures nothing."""

    def input_batch_size(self, rows: int) -> None:
        """See BatchingObserver."""

    def queuing_latency(self, microseconds: float) -> None:
        """See BatchingObserver."""

    def processed_batch_size(self, rows: int) -> None:
        """See BatchingObserver."""

    def padding_size(self, rows: int, execution_batch_size: int) -> None:
        """See BatchingObserver."""
