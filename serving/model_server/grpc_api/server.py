"""The gRPC server: its settings, its addresses, its start and stop."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc

from serving.api.services import MAX_MESSAGE_BYTES
from serving.model_server.options import GrpcOptions


def new_server(options: GrpcOptions, handlers: Sequence[grpc.GenericRpcHandler]) -> grpc.Server:
    """A server with the settings that options ask for; neither bound nor started."""
    settings: dict[str, int | str] = {
        # Without this, a second server would share the port instead of failing.
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    }
    return grpc.server(
        ThreadPoolExecutor(options.threads, thread_name_prefix="grpc"),
        handlers=handlers,
        options=list(settings.items()),
    )
