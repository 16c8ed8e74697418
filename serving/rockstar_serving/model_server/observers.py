"""Observers of requests, runs, batches and loads, and what reports to them."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine, EngineWrapper
from tfs_api.status import Code, StatusError

Request = TypeVar("Request")
Response = TypeVar("Response")
Call = Callable[[Request, Deadline], Response]


class BatchingObserver(Protocol):
    """Observes batching; called from many threads.

    The methods are named after TensorFlow Serving's metrics in
    `/tensorflow/serving/batching_session/`.
    """

    def input_batch_size(self, rows: int) -> None:
        """A request with this number of rows enters the queue."""

    def queuing_latency(self, microseconds: float) -> None:
        """A request leaves the queue after this time."""

    def processed_batch_size(self, rows: int, padding: int) -> None:
        """A batch runs.

        Args:
            rows: of the batch, including padding.
            padding: number of these rows that are padding.
        """


class Observer(Protocol):
    """Observes requests and versions; called from many threads, after each event."""

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """A request was answered.

        Args:
            model: name in the request; "" if it had none.
            api: such as "Predict"; over REST "predict", and "" for status and metadata.
            entrypoint: "GRPC" or "REST".
            code: OK, or of the error.
            seconds: from the parsed request to the response message.
        """

    def run(self, model: str, api: str, seconds: float) -> None:
        """An engine ran a request without an error, alone or in a batch."""

    def graph_run(self, seconds: float, input_bytes: int, output_bytes: int) -> None:
        """An engine ran once without an error, for a request, a batch or a warmup."""

    def examples(self, model: str, count: int) -> None:
        """A request with this number of tf.Examples was answered."""

    def load(self, folder: Path, *, loaded: bool, seconds: float) -> None:
        """A version was loaded, or failed to load; excluding its warmup."""

    def warmup(self, folder: Path, code: Code, seconds: float, records: int) -> None:
        """A version was warmed up, or failed to be, with this number of records read."""

    def batching(self, thread_pool_name: str) -> BatchingObserver:
        """The observer of the batches that threads of this name run."""


class RequestRuns(EngineWrapper):
    """An engine that reports the runs of one request."""

    def __init__(self, engine: Engine, model: str, api: str, observer: Observer) -> None:
        super().__init__(engine)
        self._model = model
        self._api = api
        self._observer = observer

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature; see Engine."""
        started = time.perf_counter()
        outputs = self.engine.run(signature, feeds, fetches, deadline)
        self._observer.run(self._model, self._api, time.perf_counter() - started)
        return outputs


class GraphRuns(EngineWrapper):
    """An engine that reports all of its runs: of requests, batches and warmups."""

    def __init__(self, engine: Engine, observer: Observer) -> None:
        super().__init__(engine)
        self._observer = observer

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """Run a signature; see Engine."""
        started = time.perf_counter()
        outputs = self.engine.run(signature, feeds, fetches, deadline)
        self._observer.graph_run(
            time.perf_counter() - started,
            sum(array.nbytes for array in feeds.values()),
            sum(array.nbytes for array in outputs.values()),
        )
        return outputs


def observed_call(
    call: Call[Request, Response], api: str, observer: Observer, model: Callable[[Request], str]
) -> Call[Request, Response]:
    """Report the requests of a gRPC call.

    Args:
        call: handles a request.
        api: name of the call, such as "Predict".
        observer: receives the reports.
        model: returns the model name of a request.
    """

    def observed(request: Request, deadline: Deadline) -> Response:
        started = time.perf_counter()
        code = Code.INTERNAL
        try:
            response = call(request, deadline)
            code = Code.OK
        except StatusError as error:
            code = error.code
            raise
        finally:
            seconds = time.perf_counter() - started
            observer.request(model(request), api, "GRPC", code, seconds)
        return response

    return observed
