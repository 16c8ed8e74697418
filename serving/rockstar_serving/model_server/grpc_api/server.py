"""The gRPC server: its settings, its addresses, its start and stop."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import grpc

from rockstar_serving.model_server.grpc_api.admission import PATIENCE_SECONDS, Admission, Handlers
from rockstar_serving.model_server.grpc_api.streams import OpenStreams
from rockstar_serving.model_server.grpc_api.unix_socket import SocketFile
from rockstar_serving.model_server.listening import bind, join
from rockstar_serving.model_server.options import GrpcOptions
from tfs_api.services import MAX_MESSAGE_BYTES


def new_server(options: GrpcOptions, handlers: Sequence[grpc.GenericRpcHandler]) -> grpc.Server:
    """A server with the settings that options ask for; it listens nowhere yet."""
    settings: dict[str, int | str] = {
        # Without this, a second server would share the port instead of failing.
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        **options.channel_arguments,
    }
    return grpc.server(
        ThreadPoolExecutor(options.threads, thread_name_prefix="grpc"),
        handlers=list(handlers),
        options=list(settings.items()),
    )


class GrpcServer:
    """Answers on a TCP port, a UNIX socket, or both."""

    def __init__(self, handlers: Handlers, options: GrpcOptions) -> None:
        self._admission = Admission(handlers)
        self._server = new_server(options, [self._admission])
        self._credentials = _credentials(options)
        self._streams = OpenStreams()
        self._socket_file: SocketFile | None = None
        # What few ask for is imported where it is asked for, so that the start is quick.
        self._health = None
        if options.health:
            from rockstar_serving.model_server.grpc_api.health import Health

            self._health = Health(self._streams)
            self._health.add_to(self._server)
        if options.reflection:
            from rockstar_serving.model_server.grpc_api.reflection import add_reflection

            add_reflection(self._server, self._streams, health=options.health)

    def listen(self, host: str, port: int) -> int:
        """Bind a TCP port; 0 picks a free one.

        Returns:
            The port.

        Raises:
            OSError: taken, not allowed, or no such host.
        """
        # gRPC does not say why it cannot bind; a plain socket does.
        bind(host, port).close()
        return self._add(join(host, port))

    def listen_at(self, path: Path) -> None:
        """Bind a UNIX socket; a server that listens there already gets no new connections.

        Raises:
            OSError: the path cannot be used.
        """
        file = SocketFile(path)
        file.check()
        self._add(f"unix:{quote(str(file.bound_as))}")
        file.publish()
        self._socket_file = file

    def start(self) -> None:
        """Answer calls."""
        self._server.start()

    def stop(self, grace: float) -> threading.Event:
        """Say NOT_SERVING and let no more calls in; returns when none comes any more.

        Args:
            grace: seconds that those in flight have.

        Returns:
            Set when all of them have ended.
        """
        if self._socket_file is not None:
            self._socket_file.remove()
        if self._health is not None:
            self._health.stop()
        self._admission.close(min(grace, PATIENCE_SECONDS))
        stopped = self._server.stop(grace)
        self._streams.end()
        return stopped

    def _add(self, address: str) -> int:
        try:
            if self._credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise OSError(None, str(error)) from error


def _credentials(options: GrpcOptions) -> grpc.ServerCredentials | None:
    tls = options.tls
    if tls is None:
        return None
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)],
        root_certificates=tls.authority,
        require_client_auth=tls.authority is not None,
    )
