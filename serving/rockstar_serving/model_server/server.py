"""The model server as an object: start, ports, stop."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rockstar_serving.listening import bind, join, reachable
from rockstar_serving.model_server.core import Core
from rockstar_serving.model_server.engines.engine import Loader
from rockstar_serving.model_server.grpc_server import GrpcServer, SocketFile
from rockstar_serving.model_server.grpc_service import handlers
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.models.config import ConfigFileWatcher
from rockstar_serving.model_server.models.manager import Manager, StartError
from rockstar_serving.model_server.options import ServerOptions

if TYPE_CHECKING:
    from rockstar_serving.model_server.monitoring import Monitoring
    from rockstar_serving.model_server.rest_server import RestServer

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
SOCKET_FLAG = "--grpc_socket_path"


class ModelServer:
    """A model server; as a context manager it runs within the block.

    Attributes:
        grpc_port: the actual port after start(); None if off.
        rest_port: likewise.
    """

    def __init__(self, options: ServerOptions, load: Loader | None = None) -> None:
        """Create a server; start() loads the models, with `load` or according to the options."""
        self._options = options
        self._monitoring: Monitoring | None = None
        if options.monitoring.path is not None:
            # Imported only if needed: its library takes a twentieth of the startup time.
            from rockstar_serving.model_server import monitoring

            self._monitoring = monitoring.Monitoring(options.monitoring.path)
        load = load or VersionLoader(options, self._monitoring)
        self._manager = Manager(options.models, load, options.load)
        self._watcher = None
        if options.load.config_file is not None and options.load.config_poll_seconds:
            self._watcher = ConfigFileWatcher(
                options.load.config_file,
                self._manager,
                options.load.config_poll_seconds,
                labels_may_wait=options.load.allow_labels_for_unavailable,
            )
        self._core = Core(self._manager, options.inference, self._monitoring)
        self._grpc: GrpcServer | None = None
        self._rest: RestServer | None = None
        self.grpc_port: int | None = None
        self.rest_port: int | None = None

    def start(self) -> None:
        """Load all models, then listen and serve; raises StartError."""
        self._check_addresses()
        self._manager.start()
        if self._watcher is not None:
            self._watcher.start()
        try:
            self._bind_grpc()
            self._bind_rest()
        except StartError:
            self.stop(grace=0)
            raise
        if self._grpc is not None:
            self._grpc.start()
        if self._rest is not None:
            self._rest.start()
        log.info("ready: %s", ", ".join(self._where()))
        # Messages of TensorFlow Serving, for which scripts wait.
        if self.grpc_port is not None:
            log.info("Running gRPC ModelServer at %s ...", join(self._options.host, self.grpc_port))
        if path := self._options.grpc.socket_path:
            log.info("Running gRPC ModelServer at UNIX socket %s ...", path)
        if self.rest_port is not None:
            log.info("Exporting HTTP/REST API at:localhost:%d ...", self.rest_port)

    def stop(self, grace: float = GRACE_SECONDS) -> bool:
        """Accept no more requests, let those in flight finish (seconds), and unload the models.

        Returns:
            Whether all requests finished and no version is still being loaded.
        """
        until = time.monotonic() + grace
        stopped = self._grpc.stop(grace) if self._grpc else None
        finished = self._rest.stop(grace) if self._rest else True
        if stopped is not None:
            finished = stopped.wait(max(0.0, until - time.monotonic())) and finished
        if self._watcher is not None:
            self._watcher.stop()
        finished = self._manager.stop() and finished
        self._grpc = self._rest = None
        return finished

    @property
    def grpc_address(self) -> str | None:
        """Address of gRPC for clients on this machine; None if off."""
        return self._address(self.grpc_port)

    @property
    def rest_address(self) -> str | None:
        """Address of REST for clients on this machine; None if off."""
        return self._address(self.rest_port)

    def _address(self, port: int | None) -> str | None:
        return None if port is None else join(reachable(self._options.host), port)

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _where(self) -> Iterator[str]:
        grpc = self._options.grpc
        name = "gRPC with TLS" if grpc.tls else "gRPC"
        if self.grpc_address:
            yield f"{name} on {self.grpc_address}"
        if grpc.socket_path:
            yield f"{name} on unix:{grpc.socket_path}"
        if self.rest_address:
            yield f"REST on {self.rest_address}"
        if self._monitoring and self.rest_address:
            yield f"metrics on http://{self.rest_address}{self._monitoring.path}"

    def _check_addresses(self) -> None:
        """Check that addresses can be bound before loading models, which may take long."""
        options, host = self._options, self._options.host
        for flag, port in (("--port", options.grpc.port), ("--rest_api_port", options.rest.port)):
            if port:
                with _binding(flag, join(host, port)):
                    bind(host, port).close()
        if path := options.grpc.socket_path:
            with _binding(SOCKET_FLAG, path):
                SocketFile(path).check()

    def _bind_grpc(self) -> None:
        options, host = self._options.grpc, self._options.host
        if options.port is None and options.socket_path is None:
            return
        server = GrpcServer(handlers(self._core, options, self._monitoring), options)
        if options.port is not None:
            with _binding("--port", join(host, options.port)):
                self.grpc_port = server.listen(host, options.port)
        if path := options.socket_path:
            with _binding(SOCKET_FLAG, path):
                server.listen_at(path)
        self._grpc = server

    def _bind_rest(self) -> None:
        options, host = self._options.rest, self._options.host
        if options.port is None:
            return
        # Imported only if needed: its libraries take a sixth of the startup time.
        from rockstar_serving.model_server import rest, rest_server

        with _binding("--rest_api_port", join(host, options.port)):
            listener = bind(host, options.port)
        api = rest.RestApi(self._core, options, self._monitoring)
        self._rest = rest_server.RestServer(api, listener, options)
        self.rest_port = self._rest.port


@contextmanager
def _binding(flag: str, where: object) -> Iterator[None]:
    try:
        yield
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"cannot listen on {where} ({flag}): {reason}") from error
