"""The calls of every client: over HTTP and gRPC, blocking and asynchronous."""

from abc import abstractmethod
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Protocol, TypeVar

from rockstar_client.backend import Query
from rockstar_client.calls import DEFAULT_TIMEOUT_S, Deadline
from rockstar_client.connection import AsyncConnection, Connection
from rockstar_client.examples import Inputs
from rockstar_client.results import Answer, ModelInfo, ModelMetadata

Result = TypeVar("Result")
Steps = Generator[Any, Any, Result]


class Api(Protocol):
    """The steps of each call over one protocol."""

    def predict(
        self, query: Query, inputs: Inputs, top: int, strict: bool, deadline: Deadline, /
    ) -> Steps[Answer]:
        """Predict inputs with the model and version of a query."""

    def models(self, deadline: Deadline, /) -> Steps[tuple[ModelInfo, ...]]:
        """Describe the models."""

    def metadata(self, query: Query, deadline: Deadline, /) -> Steps[ModelMetadata]:
        """Read the signatures and the contract of a version."""

    def ready(self, deadline: Deadline, /) -> Steps[bool]:
        """Check whether every model is ready."""


class Client(Connection):
    """Makes calls of an API; thread-safe."""

    _api: Api

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        top: int = 3,
        strict: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Predict one or several inputs.

        Args:
            model: name.
            inputs: images (paths, bytes of files, PIL images), rows (dicts, a DataFrame, or the
                path of a CSV file), or arrays that are the model's input, one or a batch; over
                HTTP, CSV files not together with others.
            version: None is the newest, or the version that the gateway's routes choose.
            label: chooses the version instead.
            top: how many labels to list for each input.
            strict: reject rows with missing values, unknown categories or other columns. Otherwise
                they are imputed or ignored, and the answer's `adjusted` lists them.
            timeout: seconds for everything together.

        Raises:
            CallError: the call failed; an InvalidRequestError if an input cannot be used.
        """
        query = Query(model, version=version, label=label)
        return self._run(partial(self._api.predict, query, inputs, top, strict), timeout)

    def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """Describe the models that the gateway serves, or that a gRPC client was created with.

        Raises:
            CallError: the call failed, or the gRPC client was created without models.
        """
        return self._run(self._api.models, timeout)

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """Read the signatures and the contract of a version, chosen as in `predict`."""
        query = Query(model, version=version, label=label)
        return self._run(partial(self._api.metadata, query), timeout)

    def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Check whether every model is ready; False also if the server cannot be reached.

        A gRPC client that was created without models checks the server itself.
        """
        return self._run(self._api.ready, timeout)

    @abstractmethod
    def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        """Take the steps of a call within a timeout in seconds."""


class AsyncClient(AsyncConnection):
    """Makes calls of an API in event loops; see `Client` for the arguments and errors."""

    _api: Api

    async def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        top: int = 3,
        strict: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Predict one or several inputs; see `HttpClient.predict`."""
        query = Query(model, version=version, label=label)
        return await self._run(partial(self._api.predict, query, inputs, top, strict), timeout)

    async def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """Describe the models; see `HttpClient.models`."""
        return await self._run(self._api.models, timeout)

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """Read the signatures and the contract of a version, chosen as in `predict`."""
        query = Query(model, version=version, label=label)
        return await self._run(partial(self._api.metadata, query), timeout)

    async def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Check whether every model is ready; see `HttpClient.ready`."""
        return await self._run(self._api.ready, timeout)

    @abstractmethod
    async def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        """Take the steps of a call within a timeout in seconds."""
