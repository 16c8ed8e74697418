"""What the server tells those who measure it."""

from pathlib import Path
from typing import Protocol

from rockstar_serving.model_server.batching.observer import BatchingObserver
from tfs_api.status import Code


class Observer(Protocol):
    """Hears of requests and of versions; called from many threads, after the fact."""

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """A request was answered.

        Args:
            model: what it asked for; "" where it did not say.
            api: for example "Predict"; REST has "predict", and "" for status and metadata.
            entrypoint: "GRPC" or "REST".
            code: OK, or of the error.
            seconds: that it took, from the message read to the answer made.
        """
        ...

    def run(self, model: str, api: str, seconds: float) -> None:
        """A request was run by an engine, without an error, alone or in a batch."""
        ...

    def graph_run(self, seconds: float, input_bytes: int, output_bytes: int) -> None:
        """An engine ran once without an error, for a request, a batch or a warmup."""
        ...

    def examples(self, model: str, count: int) -> None:
        """A request with so many tf.Examples was answered."""
        ...

    def load(self, folder: Path, *, loaded: bool, seconds: float) -> None:
        """A version was loaded, or failed to; its warmup is not part of that."""
        ...

    def warmup(self, folder: Path, code: Code, seconds: float, records: int) -> None:
        """A version was warmed up, or failed to be, with so many records read."""
        ...

    def batching(self, thread_pool_name: str) -> BatchingObserver:
        """Who hears of the batches that threads of that name run."""
        ...
