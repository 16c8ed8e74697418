"""The gRPC channel to a model server: what is tried again, and how a lost server is found."""

import json

import grpc

from serving.api.services import MAX_MESSAGE_BYTES, MODEL_SERVICE, PREDICTION_SERVICE

# A call that finds the server away or too busy is tried again, later each time and at random within
# its deadline; not when most calls fail, so that a server in trouble gets no more of them.
# https://github.com/grpc/proposal/blob/master/A6-client-retries.md
_SERVICE_CONFIG = {
    # Over all addresses of a name, such as the pods behind a headless service.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": PREDICTION_SERVICE}, {"service": MODEL_SERVICE}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # gRPC reads a ratio without a decimal point as thousandths.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.5},
}
_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A request is kept for its retries up to this size.
    ("grpc.per_rpc_retry_buffer_size", 16 * 2**20),
    # While there is no connection calls fail at once. A server that comes back is found within
    # about a quarter of a second, not after gRPC's two minutes; at another address within seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
    # Despite its name the time that one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 2000),
]


def connect(address: str) -> grpc.Channel:
    """A channel to "host:port" or "unix:/path" that connects when first used, and again."""
    return grpc.insecure_channel(address, options=_OPTIONS)
