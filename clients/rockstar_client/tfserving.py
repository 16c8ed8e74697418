"""Clients of TensorFlow Serving's gRPC API that send and receive tensors, and their channel."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio

from rockstar_client import tfserving_messages as messages
from rockstar_client.backend import BackendCall, Metadata, Query, TensorResponse, VersionStatus
from rockstar_client.calls import DEFAULT_TIMEOUT_S, RetryPolicy
from rockstar_client.connection import AsyncConnection, Connection, PerLoop
from rockstar_client.endpoint import Tls, grpc_proxy
from rockstar_contract.contract import Contract
from tfs_api.messages.inference_pb2 import ClassificationResponse, RegressionResponse
from tfs_api.services import MAX_MESSAGE_BYTES, MODEL_SERVICE, PREDICTION_SERVICE

# The process that first used gRPC in an event loop.
_process: int | None = None
# gRPC's own limit.
_MAX_ATTEMPTS = 5

_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Requests up to this size are kept for retries.
    ("grpc.per_rpc_retry_buffer_size", 16 * 2**20),
    # Without a connection, calls fail at once. A server that returns is found within about a
    # quarter of a second, not after gRPC's two minutes; at another address within seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
    # Despite its name, the timeout of one attempt to connect.
    ("grpc.min_reconnect_backoff_ms", 2000),
    # During long calls, the server is pinged as often as gRPC servers tolerate, and has ten seconds
    # to respond.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

# Callers of a gateway are waiting, so it gives up sooner than a client.
_GATEWAY_RETRY = RetryPolicy(attempts=3, first=0.05, longest=0.5)

# gRPC metadata.
Headers = tuple[tuple[str, str], ...]
Result = TypeVar("Result")


@dataclass(frozen=True)
class ChannelOptions:
    """How to connect."""

    retry: RetryPolicy = _GATEWAY_RETRY  # within the channel; the default is for gateways
    tls: Tls | None = None  # None means plain text
    proxy: bool = False  # use the environment's; gateways reach their model server directly

    def arguments(self, address: str) -> list[tuple[str, Any]]:
        """The arguments of a channel to an address."""
        return [
            *_OPTIONS,
            *(grpc_proxy(address) if self.proxy else [("grpc.enable_http_proxy", 0)]),
            ("grpc.service_config", json.dumps(_service_config(self.retry))),
        ]

    def proxy_host(self, address: str) -> str | None:
        """The proxy that is used for an address, if any; for errors."""
        url = dict(grpc_proxy(address)).get("grpc.http_proxy") if self.proxy else None
        return url and urlsplit(url).hostname


def open_channel(library: Any, address: str, tls: Tls | None, options: Any) -> Any:
    """Open a channel of `grpc` or `grpc.aio`; without `tls` in plain text."""
    if tls is None:
        return library.insecure_channel(address, options)
    # gRPC would only log that a file is not PEM, and then fail to connect.
    tls.context()
    ca, certificate, key = tls.read()
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return library.secure_channel(address, credentials, options)


DEFAULT_CHANNEL = ChannelOptions()


class TFServingClient(Connection):
    """A connection to a server; thread-safe, and a context manager.

    Each call takes a `rockstar_client.backend.Query`. A call that fails raises a
    `rockstar_client.errors.CallError`.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        headers: Callable[[], Headers] = tuple,
        options: ChannelOptions = DEFAULT_CHANNEL,
    ) -> None:
        """Connect when first used.

        Args:
            address: "host:port", "dns:///name:port", or "unix:/path" of a socket. If a name has
                several addresses, they are used in turn.
            timeout: seconds, for queries without a timeout of their own.
            headers: returns additional gRPC metadata for each call, such as traceparent.
            options: how to connect.
        """
        self.address = address
        self._timeout = timeout
        self._headers = headers
        self._options = options
        self._connect()

    def _connect(self) -> None:
        arguments = self._options.arguments(self.address)
        self._channel = open_channel(grpc, self.address, self._options.tls, arguments)
        self._stubs = {
            method.path: self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for method in messages.METHODS
        }
        self._process = os.getpid()

    def predict(self, query: Query) -> TensorResponse:
        """Run a signature on tensors."""
        return self._call(messages.predict(query), query)

    def classify(self, query: Query) -> ClassificationResponse:
        """Classify tf.Examples."""
        return self._call(messages.classify(query), query)

    def regress(self, query: Query) -> RegressionResponse:
        """Regress tf.Examples."""
        return self._call(messages.regress(query), query)

    def contract(self, query: Query) -> Contract:
        """Read a contract; its version is the number under which the server has loaded it.

        Raises a NotFoundError if there is no such label, and a NoContractError if the model has no
        contract that can be read.
        """
        return self._call(messages.contract(query), query)

    def metadata(self, query: Query) -> Metadata:
        """Read the signatures of a version."""
        return self._call(messages.metadata(query), query)

    def status(self, query: Query) -> list[VersionStatus]:
        """List the versions of a model, newest first, or only the requested one.

        TensorFlow Serving ignores a label here.
        """
        return self._call(messages.status(query), query)

    def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        self._closed = True
        self._channel.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: it for name, it in vars(self).items() if name not in ("_channel", "_stubs")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._connect()

    def _call(self, call: messages.Call[Result], query: Query) -> Result:
        self._require_open()
        if self._process != os.getpid():
            # An inherited channel fails now and then: gRPC closes it at some time after the fork.
            self._connect()
        try:
            response = self._stubs[call.method.path](
                call.request,
                timeout=self._timeout if query.timeout is None else query.timeout,
                metadata=self._headers(),
            )
        except grpc.RpcError as error:
            proxy = self._options.proxy_host(self.address)
            raise call.explain(messages.failure(error, self.address, proxy)) from error
        return call.read(response)


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

    async def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        self._closed = True
        await self._channel.close()

    async def call(self, wanted: BackendCall) -> Any:
        """Make one of the calls of `TFServingClient`."""
        self._require_open()
        query = wanted.query
        call: messages.Call[Any] = getattr(messages, wanted.method)(query)
        channel = await self._channel.get()
        method = channel.unary_unary(
            call.method.path,
            request_serializer=call.method.request.SerializeToString,
            response_deserializer=call.method.response.FromString,
        )
        timeout = DEFAULT_TIMEOUT_S if query.timeout is None else query.timeout
        try:
            response = await method(call.request, timeout=timeout, metadata=self._headers())
        except grpc.aio.AioRpcError as error:
            proxy = self._options.proxy_host(self.address)
            raise call.explain(messages.failure(error, self.address, proxy)) from error
        return call.read(response)

    def _connect(self) -> Any:
        global _process
        _process = _process or os.getpid()
        if _process != os.getpid():
            raise RuntimeError(
                "asynchronous gRPC clients were used before this process was forked, which gRPC "
                "does not support: start processes by spawn or forkserver, or use GrpcClient here"
            )
        arguments = self._options.arguments(self.address)
        return open_channel(grpc.aio, self.address, self._options.tls, arguments)


def _service_config(retry: RetryPolicy) -> dict[str, Any]:
    """GRPC's own behavior: https://github.com/grpc/grpc/blob/master/doc/service_config.md."""
    # Over all addresses of a name, such as the pods behind a headless service.
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if retry.attempts > 1:
        # If the server is unavailable or busy, a call is retried within its deadline, after random
        # pauses that grow. If most calls fail, there are no retries, which would only add load.
        # https://github.com/grpc/proposal/blob/master/A6-client-retries.md
        config["methodConfig"] = [
            {
                "name": [{"service": PREDICTION_SERVICE}, {"service": MODEL_SERVICE}],
                "retryPolicy": {
                    "maxAttempts": min(retry.attempts, _MAX_ATTEMPTS),
                    "initialBackoff": f"{retry.first:.9f}s",
                    "maxBackoff": f"{retry.longest:.9f}s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
        # gRPC reads a ratio without a decimal point as thousandths.
        config["retryThrottling"] = {"maxTokens": 10, "tokenRatio": 0.5}
    return config
