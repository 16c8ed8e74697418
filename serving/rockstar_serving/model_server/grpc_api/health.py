"""grpc.health.v1: whether the server takes requests."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from rockstar_serving.model_server.grpc_api.streams import OpenStreams
from rockstar_serving.model_server.grpc_api.threads import with_threads
from tfs_api.services import INFERENCE_SERVICE, MODEL_SERVICE, PREDICTION_SERVICE

# TensorFlow Serving (server.cc) leaves out the package; gRPC's own clients ask by the full name.
SERVICES = (
    "ModelService",
    "PredictionService",
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    INFERENCE_SERVICE,
)


class Health(health.HealthServicer):  # type: ignore[misc]
    """Answers SERVING for the server as a whole ("") and its services, until it stops."""

    def __init__(self, streams: OpenStreams) -> None:
        super().__init__()
        self._streams = streams
        # Who kills servers that do not answer in time must not be kept waiting by slow models.
        pool = ThreadPoolExecutor(2, thread_name_prefix="health")
        self.Check = with_threads(super().Check, pool)
        self.Watch = with_threads(self._watch, pool, non_blocking=True)
        for service in SERVICES:
            self.set(service, health_pb2.HealthCheckResponse.SERVING)

    def add_to(self, server: grpc.Server) -> None:
        """Answer on a server that is not started yet."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def stop(self) -> None:
        """Answer NOT_SERVING from now on, also to those that watch."""
        self.enter_graceful_shutdown()

    def _watch(self, request: Any, context: Any, send_response: Callable[[Any], None]) -> None:
        # Not by cancelling: then the caller might not read the last status any more.
        self._streams.add(context, lambda: send_response(None))
        super().Watch(request, context, send_response)
