"""The gRPC clients: call any TensorFlow Serving directly, with preprocessing and labels here."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeVar

from rockstar_client.backend import Query
from rockstar_client.calls import (
    DEFAULT_RETRY,
    DEFAULT_TIMEOUT_S,
    Deadline,
    RetryPolicy,
    run,
    run_async,
)
from rockstar_client.connection import AsyncConnection, Connection
from rockstar_client.endpoint import Tls, fixed_headers
from rockstar_client.examples import Inputs
from rockstar_client.model_api import ModelApi
from rockstar_client.predictor import Steps
from rockstar_client.results import Answer, ModelInfo, ModelMetadata
from rockstar_client.tfserving import AsyncTFServingClient, ChannelOptions, TFServingClient

Result = TypeVar("Result")


class GrpcClient(Connection):
    """Predicts with models that have a contract; thread-safe, and a context manager.

    A process that is forked, or that unpickles a client, creates a connection of its own. Fork
    while no other thread is in a call: gRPC may otherwise hang in the child.
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
        """Connect when first used.

        Args:
            address: "host:port" of the server's gRPC API, "dns:///name:port", or "unix:/path". If a
                name has several addresses, they are used in turn.
            models: names, for `models` and `ready`: TensorFlow Serving cannot list its models.
            api_key: if a proxy in front of the server requires one.
            headers: additional gRPC metadata for every call.
            tls: the certificates to trust and to send; None means plain text.
            retry: when a failed call is made again.

        Raises:
            InvalidInputError: an argument is invalid, or a file cannot be read.
        """
        metadata = tuple(fixed_headers(api_key, headers).items())
        options = ChannelOptions(retry, tls, proxy=True)
        self._server = TFServingClient(address, headers=partial(tuple, metadata), options=options)
        self._api = ModelApi(models)

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
                path of a CSV file), or arrays that are the model's input, one or a batch.
            version: None is the newest.
            label: chooses the version instead.
            top: how many labels to list for each input.
            strict: reject rows with missing values, unknown categories or other columns. Otherwise
                they are imputed or ignored, and the answer's `adjusted` lists them.
            timeout: seconds for everything together.

        Raises:
            CallError: the call failed; an InvalidRequestError if an input cannot be used.
        """
        query = Query(model, version=version, label=label)
        return self._run(self._api.predict(query, inputs, top, strict, Deadline(timeout)))

    def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """Describe the models that the client was created with.

        Raises:
            CallError: the call failed, or the client was created without models.
        """
        return self._run(self._api.models(Deadline(timeout)))

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """Read the signatures and the contract of a version."""
        query = Query(model, version=version, label=label)
        return self._run(self._api.metadata(query, Deadline(timeout)))

    def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Check whether every model of the client is ready; without models, the server itself."""
        return self._run(self._api.ready(Deadline(timeout)))

    def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        self._server.close()

    def _run(self, steps: Steps[Result]) -> Result:
        return run(steps, lambda call: call(self._server))


class AsyncGrpcClient(AsyncConnection):
    """Predicts with models that have a contract, in event loops; a context manager.

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
        metadata = tuple(fixed_headers(api_key, headers).items())
        options = ChannelOptions(retry, tls, proxy=True)
        self._server = AsyncTFServingClient(
            address, headers=partial(tuple, metadata), options=options
        )
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
        query = Query(model, version=version, label=label)
        return await self._run(self._api.predict(query, inputs, top, strict, Deadline(timeout)))

    async def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """Describe the models that the client was created with; see `GrpcClient.models`."""
        return await self._run(self._api.models(Deadline(timeout)))

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """Read the signatures and the contract of a version."""
        query = Query(model, version=version, label=label)
        return await self._run(self._api.metadata(query, Deadline(timeout)))

    async def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Check whether every model of the client is ready; see `GrpcClient.ready`."""
        return await self._run(self._api.ready(Deadline(timeout)))

    async def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        await self._server.close()

    async def _run(self, steps: Steps[Result]) -> Result:
        return await run_async(steps, lambda call: call(self._server))
