"""Which calls are let in."""

import time
from collections.abc import Mapping
from typing import Any, NoReturn

import grpc

# A grpc.RpcMethodHandler for each path, such as /tensorflow.serving.PredictionService/Predict.
Handlers = Mapping[str, Any]

# How long no call may have come before the server says good-bye, and how long it waits for that.
_QUIET_SECONDS = 0.1
PATIENCE_SECONDS = 1.0


class Admission(grpc.GenericRpcHandler):
    """Hands calls to the handlers; once it is closed, calls that come are told UNAVAILABLE.

    A gRPC server that stops cancels what has reached it and is not yet in a handler, which callers
    cannot tell from their own cancelling. UNAVAILABLE tells them to go elsewhere.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._closed = False
        self._latest = 0.0

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """What answers a call; None: nothing does."""
        self._latest = time.monotonic()
        found = self._handlers.get(details.method)
        return _REFUSAL if self._closed and found else found

    def close(self, patience: float) -> None:
        """Let no more calls in, and wait until none has come for a while.

        Args:
            patience: seconds after which it no longer waits for callers that do not give up.
        """
        self._closed = True
        until = time.monotonic() + patience
        while (now := time.monotonic()) < min(until, self._latest + _QUIET_SECONDS):
            time.sleep(min(until, self._latest + _QUIET_SECONDS) - now)


def _refuse(_: bytes, context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")


_REFUSAL: Any = grpc.unary_unary_rpc_method_handler(_refuse)
