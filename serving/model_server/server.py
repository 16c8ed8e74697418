"""The server as an object: start, real ports, stop."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

import grpc

from serving.api.services import MAX_MESSAGE_BYTES
from serving.model_server.engines.engine import Loader
from serving.model_server.grpc_api.service import handlers
from serving.model_server.inference.core import Core
from serving.model_server.loading import EngineLoader
from serving.model_server.models.manager import Manager, StartError
from serving.model_server.options import ServerOptions
from serving.model_server.rest_api.server import RestServer, bind
from serving.model_server.rest_api.service import RestService

log = logging.getLogger(__name__)

Bound = TypeVar("Bound")

GRACE_SECONDS = 10.0


class ModelServer:
    """A model server; as a context manager it runs within the block.

    Attributes:
        grpc_port: the real port after start(), None where off.
        rest_port: likewise.
    """

    def __init__(self, options: ServerOptions, load: Loader | None = None) -> None:
        """Make a server; start() does the work.

        Args:
            options: what it serves, and where.
            load: makes engines of version folders; none: as the options say.
        """
        self._options = options
        load = load or EngineLoader(options.engine, options.batching)
        self._manager = Manager(options.models, load, options.load)
        self._core = Core(self._manager)
        self._grpc: grpc.Server | None = None
        self._rest: RestServer | None = None
        self.grpc_port: int | None = None
        self.rest_port: int | None = None

    def start(self) -> None:
        """Load all models, then bind the ports and answer.

        Raises:
            StartError: a model has no version that loads, or a port cannot be bound.
        """
        self._manager.start()
        try:
            self._bind()
        except StartError:
            self.stop(grace=0)
            raise
        for server in (self._grpc, self._rest):
            if server is not None:
                server.start()
        log.info("ready: gRPC on %s, REST on %s", self.grpc_address, self.rest_address)

    def stop(self, grace: float = GRACE_SECONDS) -> bool:
        """Take no more requests, let those in flight finish, unload the models.

        Args:
            grace: seconds that requests in flight have.

        Returns:
            Whether all of them finished.
        """
        stopped = self._grpc.stop(grace) if self._grpc else None
        finished = self._rest.stop(grace) if self._rest else True
        if stopped is not None:
            finished = stopped.wait(grace) and finished
        self._manager.stop()
        self._grpc = self._rest = None
        return finished

    @property
    def grpc_address(self) -> str | None:
        """Where clients on this machine reach gRPC."""
        return self._address(self.grpc_port)

    @property
    def rest_address(self) -> str | None:
        """Where clients on this machine reach REST."""
        return self._address(self.rest_port)

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _bind(self) -> None:
        options = self._options
        if options.grpc.port is not None:
            self._grpc = _grpc_server(self._core, options.grpc.threads)
            self.grpc_port = _bound(
                "--port", options.host, options.grpc.port, partial(_bind_grpc, self._grpc)
            )
        if options.rest.port is not None:
            listener = _bound("--rest_api_port", options.host, options.rest.port, bind)
            service = RestService(self._core, options.rest)
            self._rest = RestServer(service, listener, options.rest)
            self.rest_port = self._rest.port

    def _address(self, port: int | None) -> str | None:
        if port is None:
            return None
        host = self._options.host
        return _join("127.0.0.1" if host in ("0.0.0.0", "::") else host, port)  # noqa: S104


def _grpc_server(core: Core, threads: int) -> grpc.Server:
    return grpc.server(
        ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
        handlers=list(handlers(core)),
        options=[
            # Without this, a second server would share the port instead of failing.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )


def _bind_grpc(server: grpc.Server, host: str, port: int) -> int:
    try:
        return server.add_insecure_port(_join(host, port))
    except RuntimeError as error:
        # gRPC does not say why; a plain socket does.
        bind(host, port).close()
        raise OSError(None, str(error)) from error


def _bound(flag: str, host: str, port: int, bind_to: Callable[[str, int], Bound]) -> Bound:
    try:
        return bind_to(host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"cannot listen on {_join(host, port)} ({flag}): {reason}") from error


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
