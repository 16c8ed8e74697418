"""The gRPC channel to a model server: what is tried again, and how a lost server is found."""

import json
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

from rockstar_client.endpoint import Tls
from rockstar_client.proxy import grpc_proxy
from rockstar_client.retry import RetryPolicy
from tfs_api.services import MAX_MESSAGE_BYTES, MODEL_SERVICE, PREDICTION_SERVICE

# That first used gRPC in an event loop.
_process: int | None = None
# gRPC makes no more attempts than these, whatever a policy says.
_MOST_ATTEMPTS = 5

_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A request is kept for its retries up to this size.
    ("grpc.per_rpc_retry_buffer_size", 16 * 2**20),
    # While there is no connection calls fail at once. A server that comes back is found within
    # about a quarter of a second, not after gRPC's two minutes; at another address within seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
    # Despite its name the time that one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 2000),
    # During long calls a server is asked whether it lives, as often as gRPC's servers put up with,
    # and has ten seconds to say so.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


# Callers of a gateway wait for it, so it gives up sooner than a client.
_SOON = RetryPolicy(attempts=3, first=0.05, longest=0.5)


@dataclass(frozen=True)
class ChannelOptions:
    """How to connect.

    Attributes:
        retry: within the channel; by default for what serves others.
        tls: None is plain text.
        proxy: whether to use the environment's proxy, see `proxy`; what serves others reaches
            its model server directly.
    """

    retry: RetryPolicy = _SOON
    tls: Tls | None = None
    proxy: bool = False

    def arguments(self, address: str) -> list[tuple[str, Any]]:
        """What a channel to an address is made with."""
        return [
            *_OPTIONS,
            *(grpc_proxy(address) if self.proxy else [("grpc.enable_http_proxy", 0)]),
            ("grpc.service_config", json.dumps(_service_config(self.retry))),
        ]

    def proxy_host(self, address: str) -> str | None:
        """The proxy through which an address is asked; for errors."""
        url = dict(grpc_proxy(address)).get("grpc.http_proxy") if self.proxy else None
        return url and urlsplit(url).hostname

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Those of TLS; None is plain text.

        Raises:
            InvalidInputError: a file cannot be read, or is not what it should be.
        """
        if self.tls is None:
            return None
        # gRPC would only log of files that are no PEM, and then fail to connect.
        self.tls.context()
        ca, certificate, key = self.tls.read()
        return grpc.ssl_channel_credentials(ca, key, certificate)


DEFAULT_CHANNEL = ChannelOptions()


def connect(address: str, options: ChannelOptions = DEFAULT_CHANNEL) -> grpc.Channel:
    """A channel that connects when first used, and again.

    Args:
        address: "host:port", "dns:///name:port" or "unix:/path"; a name's addresses take turns.
        options: how.
    """
    arguments, credentials = options.arguments(address), options.credentials()
    if credentials is None:
        return grpc.insecure_channel(address, options=arguments)
    return grpc.secure_channel(address, credentials, options=arguments)


def connect_in_loop(address: str, options: ChannelOptions) -> grpc.aio.Channel:
    """The same for the running event loop.

    Raises:
        RuntimeError: gRPC's threads of event loops did not survive a fork.
    """
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise RuntimeError(
            "asynchronous clients of gRPC were used before this process was forked, after which "
            "gRPC answers none: start processes by spawn or forkserver, or use GrpcClient here"
        )
    arguments, credentials = options.arguments(address), options.credentials()
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=arguments)
    return grpc.aio.secure_channel(address, credentials, options=arguments)


def _service_config(retry: RetryPolicy) -> dict[str, Any]:
    """What gRPC does by itself: https://github.com/grpc/grpc/blob/master/doc/service_config.md."""
    # Over all addresses of a name, such as the pods behind a headless service.
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if retry.attempts > 1:
        # A call that finds the server away or too busy is tried again, later each time and at
        # random within its deadline; not when most calls fail, so that a server in trouble gets no
        # more of them. https://github.com/grpc/proposal/blob/master/A6-client-retries.md
        config["methodConfig"] = [
            {
                "name": [{"service": PREDICTION_SERVICE}, {"service": MODEL_SERVICE}],
                "retryPolicy": {
                    "maxAttempts": min(retry.attempts, _MOST_ATTEMPTS),
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
