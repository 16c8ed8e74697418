"""What the server tells those who measure it."""

from pathlib import Path
from typing import Protocol

from serving.api.status import Code
from serving.model_server.batching.observer import BatchingObserver


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

    def run(self, model: str, api: str, runtime: str, seconds: float) -> None:
        """A request was run by an engine of that name, without an error."""
        ...

    def examples(self, model: str, count: int) -> None:
        """A request with so many tf.Examples was answered."""
        ...

    def load(self, folder: Path, *, loaded: bool, seconds: float) -> None:
        """A version was loaded, or failed to; its warmup is not part of that."""
        ...

    def warmup(self, folder: Path, code: Code, seconds: float) -> None:
        """A version was warmed up, or failed to be."""
        ...

    def batching(self, thread_pool_name: str) -> BatchingObserver:
        """Who hears of the batches that threads of that name run."""
        ...
