"""The gRPC client for event loops: the same calls, awaited."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeVar

from rockstar_client.answer import Answer
from rockstar_client.async_tfserving import AsyncTFServingClient
from rockstar_client.channel import ChannelOptions
from rockstar_client.connection import AsyncConnection
from rockstar_client.deadline import DEFAULT_TIMEOUT_S, Deadline
from rockstar_client.endpoint import Tls, fixed_headers
from rockstar_client.examples import Inputs
from rockstar_client.model_api import ModelApi, Steps
from rockstar_client.model_info import ModelInfo, ModelMetadata
from rockstar_client.retry import DEFAULT_RETRY, RetryPolicy
from rockstar_client.sans_io import run_async

Result = TypeVar("Result")


class AsyncGrpcClient(AsyncConnection):
    """Predicts with models that carry a contract; a context manager.

    It works in several event loops, each with a connection of its own, but not in a process that
    was forked after one of its kind was used: gRPC does not support that.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:8500",
        *,
        models: Sequence[str] = (),
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """Connect when first used; the arguments are those of `GrpcClient`."""
        said = tuple(fixed_headers(api_key, headers).items())
        options = ChannelOptions(retry, tls, proxy=True)
        self._server = AsyncTFServingClient(address, headers=partial(tuple, said), options=options)
        self._api = ModelApi(models)

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
        """Predict one or several inputs; see `GrpcClient.predict`."""
        deadline = Deadline(timeout)
        steps = self._api.predict(model, inputs, version, label, top, strict, deadline)
        return await self._run(steps)

    async def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """The models that the client was told of; see `GrpcClient.models`."""
        return await self._run(self._api.models(Deadline(timeout)))

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """The signatures of a version, and its contract if it carries one."""
        return await self._run(self._api.metadata(model, version, label, Deadline(timeout)))

    async def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Whether every model that the client was told of answers; of none, whether the server."""
        return await self._run(self._api.ready(Deadline(timeout)))

    async def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        await self._server.close()

    async def _run(self, steps: Steps[Result]) -> Result:
        return await run_async(steps, lambda ask: ask(self._server))
