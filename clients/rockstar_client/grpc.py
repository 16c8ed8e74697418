"""The gRPC clients: call any TensorFlow Serving directly, with preprocessing and labels here."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rockstar_client.calls import DEFAULT_RETRY, Deadline, RetryPolicy, run, run_async
from rockstar_client.client import Api, AsyncClient, Client, Result, Steps
from rockstar_client.endpoint import Tls, fixed_headers
from rockstar_client.model_api import ModelApi
from rockstar_client.tfserving import AsyncTFServingClient, ChannelOptions, TFServingClient


class _GrpcConnection:
    """The connection of both clients, and their API."""

    _connect: Callable[..., Any]

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
        metadata = partial(tuple, tuple(fixed_headers(api_key, headers).items()))
        options = ChannelOptions(retry, tls, proxy=True)
        self._server = self._connect(address, headers=metadata, options=options)
        self._api: Api = ModelApi(models)


class GrpcClient(_GrpcConnection, Client):
    """Predicts with models that have a contract; thread-safe, and a context manager.

    A process that is forked, or that unpickles a client, creates a connection of its own. Fork
    while no other thread is in a call: gRPC may otherwise hang in the child.
    """

    _connect = TFServingClient

    def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        self._server.close()

    def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        return run(start(Deadline(timeout)), lambda call: call(self._server))


class AsyncGrpcClient(_GrpcConnection, AsyncClient):
    """Predicts with models that have a contract, in event loops; a context manager.

    It works in several event loops, each with a connection of its own, but not in a process that
    was forked after one of its kind was used: gRPC does not support that.
    """

    _connect = AsyncTFServingClient

    async def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        await self._server.close()

    async def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        return await run_async(start(Deadline(timeout)), lambda call: call(self._server))
