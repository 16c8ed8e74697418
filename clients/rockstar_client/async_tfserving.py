"""Tensors in, tensors out, for event loops: the calls that clients of models need."""

from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any, TypeVar

import grpc
import grpc.aio
from numpy.typing import NDArray

from rockstar_client import tfserving_calls as calls
from rockstar_client.backend import Metadata, TensorResponse, VersionStatus
from rockstar_client.channel import DEFAULT_CHANNEL, ChannelOptions, connect_in_loop
from rockstar_client.connection import AsyncConnection
from rockstar_client.deadline import DEFAULT_TIMEOUT_S
from rockstar_client.loops import PerLoop
from rockstar_client.tfserving import Headers
from rockstar_contract.contract import Contract

Result = TypeVar("Result")


class AsyncTFServingClient(AsyncConnection):
    """Connections to a server, one in each event loop; see `TFServingClient`."""

    def __init__(
        self,
        address: str,
        *,
        headers: Callable[[], Headers] = tuple,
        options: ChannelOptions = DEFAULT_CHANNEL,
    ) -> None:
        """Connect when first used."""
        self.address = address
        self._headers = headers
        self._options = options
        self._channel = PerLoop(self._connect, methodcaller("close"))

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> TensorResponse:
        """Run the signature that predicts."""
        return await self._call(calls.predict(model, inputs, version, label), timeout)

    async def contract(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Contract:
        """What a model promises."""
        return await self._call(calls.contract(model, version, label), timeout)

    async def metadata(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Metadata:
        """The signatures of a version."""
        return await self._call(calls.metadata(model, version, label), timeout)

    async def status(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> list[VersionStatus]:
        """The versions of a model that the server knows, newest first; or the one picked."""
        return await self._call(calls.status(model, version, label), timeout)

    async def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        self._closed = True
        await self._channel.close()

    async def _call(self, call: calls.Call[Result], timeout: float) -> Result:
        self._require_open()
        channel = await self._channel.get()
        method = channel.unary_unary(
            call.method.path,
            request_serializer=call.method.request.SerializeToString,
            response_deserializer=call.method.parse_response,
        )
        try:
            response = await method(call.request, timeout=timeout, metadata=self._headers())
        except grpc.aio.AioRpcError as error:
            proxy = self._options.proxy_host(self.address)
            raise call.explain(calls.failure(error, self.address, proxy)) from error
        return call.read(response)

    def _connect(self) -> grpc.aio.Channel:
        return connect_in_loop(self.address, self._options)
