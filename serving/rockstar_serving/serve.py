"""`rockstar serve`: the embedded model server and the gateway, or the gateway alone."""

import contextlib
import http.client
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rockstar_serving.listening import listener, reachable, require_free
from rockstar_serving.logs import LogFormat
from rockstar_serving.model_folder import ModelFolderError, find_models, model_config, strays
from rockstar_serving.models_config import declared
from rockstar_serving.supervisor import Child, ServeError, Supervisor

# The gateway ends by itself, after its settings ROCKSTAR_DRAIN and ROCKSTAR_GRACE.
GATEWAY_STOP_TIMEOUT_S = 120.0
_PROBE_TIMEOUT_S = 3.0

log = logging.getLogger(__name__)


def default_workers() -> int:
    """One for each core that this process may use.

    At least two, so that one that dies or is slow leaves another; at most eight, for their memory.
    """
    known = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return min(max(2, cores), 8)


@dataclass(frozen=True)
class ServeOptions:
    """What to serve and where.

    Attributes:
        models: folder of models, `<model>/<version>/`; labels come from its models.config.
        only: names of the models to serve; none means all in the folder.
        host: address to listen on.
        port: of the gateway; 0 picks a free one, also below.
        grpc_port: of the model server.
        rest_port: of the model server.
        workers: processes of the gateway.
        tfserving: "host:port" of a TensorFlow Serving to use instead of the embedded server.
        log_format: of both servers.
        require_all_models: whether a model that does not load prevents the start.
    """

    models: Path
    only: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 8500
    rest_port: int = 8501
    workers: int = field(default_factory=default_workers)
    tfserving: str | None = None
    log_format: LogFormat = "text"
    require_all_models: bool = False


@dataclass(frozen=True)
class Addresses:
    """Addresses of a running service; `rest` is None with an external TensorFlow Serving."""

    http: str
    grpc: str
    rest: str | None
    models: tuple[str, ...]


@dataclass(frozen=True)
class _Upstream:
    """The model server behind the gateway.

    Attributes:
        models: their names.
        grpc: returns the host:port of its gRPC API, once it is ready.
        rest: returns the host:port of its REST API, once it is ready; None if it is external.
        config: its configuration, by which gateway workers run models themselves.
        children: the processes to start before the gateway.
        refresh: looks for new and removed models; called about once a second.
    """

    models: tuple[str, ...]
    grpc: Callable[[], str]
    rest: Callable[[], str | None]
    config: Path | None = None
    children: tuple[Child, ...] = ()
    refresh: Callable[[], None] = lambda: None


def serve(options: ServeOptions, on_ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: what and where.
        on_ready: called with the addresses when every model answers.

    Raises:
        ServeError: it cannot start or go on: no such model, a port is taken, a process that dies
            again and again.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rockstar-")))
        listening = stack.enter_context(listener(options.host, options.port, "--port"))
        host, port = listening.getsockname()[:2]
        external = options.tfserving is not None
        upstream = _external(options) if external else _embedded(options, folder)
        # An external TensorFlow Serving may start later: until then the gateway reports it.
        path = "/livez" if external else "/readyz"
        # The listener outlives the gateway: while that restarts, clients wait in its queue.
        gateway = Child(
            "gateway",
            lambda: _gateway_command(listening.fileno(), upstream, options),
            lambda: _responds(reachable(host), port, path),
            pass_fds=(listening.fileno(),),
            stop_timeout=GATEWAY_STOP_TIMEOUT_S,
            reloads=True,
        )
        supervisor = Supervisor([*upstream.children, gateway])
        with supervisor.signals():
            try:
                if supervisor.start():
                    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
                    addresses = Addresses(url, upstream.grpc(), upstream.rest(), upstream.models)
                    on_ready(addresses)
                    supervisor.watch(upstream.refresh)
            finally:
                # If it stayed open, clients would wait in its queue for nothing.
                listening.close()
                supervisor.shut_down()


def require_free_ports(options: ServeOptions) -> None:
    """Check in advance that the embedded server and the gateway will find their ports free.

    Raises:
        ServeError: a port is taken, or the host is not of this machine; it names the flag.
    """
    require_free(options.host, options.port, "--port")
    require_free(options.host, options.grpc_port, "--grpc-port")
    require_free(options.host, options.rest_port, "--rest-port")


def _gateway_command(listener: int, upstream: _Upstream, options: ServeOptions) -> list[str]:
    return [
        *(sys.executable, "-m", "rockstar_serving.gateway"),
        f"--bind=fd://{listener}",
        f"--upstream={upstream.grpc()}",
        f"--workers={options.workers}",
        f"--log-format={options.log_format}",
        *(["--require-all-models"] if options.require_all_models else []),
        *(f"--model={model}" for model in upstream.models),
        *([f"--models-config={upstream.config}"] if upstream.config else []),
    ]


def _responds(host: str, port: int, path: str) -> bool:
    # The listener exists before the gateway and after its end: the request may get no answer.
    connection = http.client.HTTPConnection(host, port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _embedded(options: ServeOptions, folder: Path) -> _Upstream:
    """A model server of our own, with its files in an empty folder."""
    models, config = _models_to_serve(options)
    require_free(options.host, options.grpc_port, "--grpc-port")
    require_free(options.host, options.rest_port, "--rest-port")
    server = _EmbeddedServer(options, config, folder)
    return _Upstream(
        models=models,
        grpc=server.grpc_address,
        rest=lambda: server.addresses()["rest"],
        # Gateway workers run the models they can: no network hop, and no copy on the way.
        config=server.config,
        children=(Child("model server", server.command, server.is_ready),),
        refresh=server.refresh,
    )


def _external(options: ServeOptions) -> _Upstream:
    """A TensorFlow Serving that runs elsewhere, perhaps not yet."""
    address = options.tfserving or ""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ServeError(f"--tfserving: expected HOST:PORT of its gRPC API, got {address!r}")
    if options.only:
        models = tuple(dict.fromkeys(options.only))
    else:
        # TensorFlow Serving has no call that lists its models.
        try:
            models = tuple(find_models(options.models))
        except ModelFolderError as error:
            raise ServeError(
                f"name the models that {options.tfserving} hosts with --model ({error})"
            ) from error
    return _Upstream(models, grpc=lambda: address, rest=lambda: None)


class _EmbeddedServer:
    """The embedded model server as a child process: its files, command and addresses."""

    def __init__(self, options: ServeOptions, config: str, folder: Path) -> None:
        self._options = options
        self._addresses = folder / "addresses.json"
        self.config = folder / "models.config"
        self._text = config
        self.config.write_text(config)
        self._warned: set[str] = set()
        self._report_strays()
        self._known: dict[str, str] = {}
        self._started = False

    def command(self) -> list[str]:
        """The arguments of the process; a restart keeps the ports, which clients know."""
        ports = {
            api: self.addresses()[api].rpartition(":")[2] if api in self.addresses() else "auto"
            for api in ("grpc", "rest")
        }
        self._addresses.unlink(missing_ok=True)
        # After the first start, a model damaged meanwhile must not stop the others.
        strict, self._started = self._options.require_all_models and not self._started, True
        return [
            *(sys.executable, "-m", "rockstar_serving.model_server"),
            f"--model_config_file={self.config}",
            "--model_config_file_poll_wait_seconds=1",
            "--prefer_tflite_model=true",
            # Gateway workers run the models; this server gets only direct calls.
            "--litert_on_demand=true",
            f"--host={self._options.host}",
            f"--port={self._options.grpc_port or ports['grpc']}",
            f"--rest_api_port={self._options.rest_port or ports['rest']}",
            f"--address_file={self._addresses}",
            f"--require_all_models={str(strict).lower()}",
            "--wait_for_models=false",
            f"--log_format={self._options.log_format}",
            "--allow_version_labels_for_unavailable_models",
        ]

    def refresh(self) -> None:
        """Serve the models that are in the folder now, with their labels."""
        try:
            _, config = _models_to_serve(self._options, at_start=False)
        except ServeError as error:
            self._warn_once(f"{error}; what was served before stays")
            return
        self._report_strays()
        if config != self._text:
            new = self.config.with_suffix(".new")
            try:
                new.write_text(config)
                new.replace(self.config)
            except OSError as error:
                self._warn_once(f"{self.config} cannot be written ({error.strerror}): changes wait")
                return
            self._text = config

    def _report_strays(self) -> None:
        with contextlib.suppress(OSError):
            for sentence in strays(self._options.models):
                self._warn_once(sentence)

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            log.warning("%s", sentence)

    def is_ready(self) -> bool:
        """Whether the server has written its addresses."""
        return self._addresses.exists()

    def grpc_address(self) -> str:
        """Where this machine reaches the gRPC API."""
        host, _, port = self.addresses()["grpc"].rpartition(":")
        return f"{reachable(host)}:{port}"

    def addresses(self) -> dict[str, str]:
        """The last known host:port of "grpc" and "rest"; empty until the server is ready."""
        with contextlib.suppress(FileNotFoundError):
            self._known = json.loads(self._addresses.read_text())
        return self._known


def _models_to_serve(
    options: ServeOptions, *, at_start: bool = True
) -> tuple[tuple[str, ...], str]:
    """The names of the models, and the model server's configuration."""
    try:
        models = find_models(options.models)
        labeled = declared(options.models)
    except ModelFolderError as error:
        raise ServeError(str(error)) from error
    missing = sorted(set(options.only) - set(models))
    if missing and at_start:
        raise ServeError(
            f"{options.models} holds no model {', '.join(missing)}; it holds {', '.join(models)}"
        )
    chosen = {n: path for n, path in models.items() if not options.only or n in options.only}
    return tuple(chosen), model_config(chosen, labeled)
