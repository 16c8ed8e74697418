"""Engines, loaders and calls that are measured: what they do is told to an observer."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine, Loader, ServableId
from rockstar_serving.model_server.observer import Observer
from tfs_api.signature import Signature
from tfs_api.status import Code, StatusError

Request = TypeVar("Request")
Response = TypeVar("Response")
Call = Callable[[Request, Deadline], Response]


def measured_call(
    call: Call[Request, Response], api: str, observer: Observer, model: Callable[[Request], str]
) -> Call[Request, Response]:
    """A gRPC call that is measured; `model` gives the name of the model that a request asks for."""

    def measured(request: Request, deadline: Deadline) -> Response:
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

    return measured


class MeasuredEngine:
    """An Engine as one request sees it."""

    def __init__(self, engine: Engine, model: str, api: str, observer: Observer) -> None:
        self._engine = engine
        self._model = model
        self._api = api
        self._observer = observer

    @property
    def name(self) -> str:
        """See Engine."""
        return self._engine.name

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """See Engine."""
        return self._engine.signatures

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """See Engine."""
        started = time.perf_counter()
        outputs = self._engine.run(signature, feeds, fetches, deadline)
        self._observer.run(self._model, self._api, time.perf_counter() - started)
        return outputs

    def close(self) -> None:
        """See Engine."""
        self._engine.close()


class CountedEngine:
    """An Engine of which every run is counted, whoever asks for it.

    Attributes:
        engine: the one that runs.
    """

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self.engine = engine
        self._observer = observer

    @property
    def name(self) -> str:
        """See Engine."""
        return self.engine.name

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """See Engine."""
        return self.engine.signatures

    def run(
        self,
        signature: str,
        feeds: Mapping[str, NDArray[Any]],
        fetches: Sequence[str],
        deadline: Deadline = NO_DEADLINE,
    ) -> dict[str, NDArray[Any]]:
        """See Engine."""
        started = time.perf_counter()
        outputs = self.engine.run(signature, feeds, fetches, deadline)
        self._observer.graph_run(
            time.perf_counter() - started, _bytes(feeds.values()), _bytes(outputs.values())
        )
        return outputs

    def close(self) -> None:
        """See Engine."""
        self.engine.close()


def _bytes(arrays: Iterable[NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays)


class MeasuredLoader:
    """A Loader around another one; what it loads counts its runs."""

    def __init__(self, load: Loader, observer: Observer) -> None:
        self._load = load
        self._observer = observer

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        """Load a version.

        Raises:
            LoadError: it cannot be loaded.
        """
        started = time.perf_counter()
        loaded = False
        try:
            engine = self._load(servable_id, folder)
            loaded = True
        finally:
            self._observer.load(folder, loaded=loaded, seconds=time.perf_counter() - started)
        return CountedEngine(engine, self._observer)
