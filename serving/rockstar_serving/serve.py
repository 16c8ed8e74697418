"""`rockstar serve`: the embedded model server and the gateway, or the gateway alone."""

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rockstar_contract.text_files import replace_file
from rockstar_serving import ServeError, probe
from rockstar_serving.listening import join, listener, reachable, require_free, reserve
from rockstar_serving.logs import LogFormat
from rockstar_serving.model_folder import (
    ModelFolderError,
    find_models,
    model_config,
    read_models_config,
    strays,
)
from rockstar_serving.supervisor import Child, Supervisor

# The gateway stops by itself, according to its settings ROCKSTAR_DRAIN and ROCKSTAR_GRACE.
GATEWAY_STOP_TIMEOUT_S = 120.0
_PROBE_TIMEOUT_S = 3.0
# Of the model server, which binds a path that is one byte longer.
_MAX_SOCKET_PATH_BYTES = 102

log = logging.getLogger(__name__)


def default_workers() -> int:
    """One for each core that this process may use.

    At least two, so that one remains if the other ends or is slow; at most eight, because each
    takes memory.
    """
    known = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return min(max(2, cores), 8)


@dataclass(frozen=True)
class ServeOptions:
    """What to serve and where.

    Attributes:
        models: folder of models, `<model>/<version>/`; labels come from its models.config.
        only: names of the models to serve; empty: all in the folder.
        host: address that the gateway listens on.
        port: of the gateway; 0 picks a free one, also below.
        tls_certificate: PEM file of the gateway's certificate and its chain, for HTTPS.
        tls_key: PEM file of its key.
        model_server_host: address that the embedded model server listens on; it checks no API keys.
        grpc_port: of the model server.
        rest_port: of the model server.
        workers: processes of the gateway.
        tfserving: "host:port" of a TensorFlow Serving to use instead of the embedded server.
        log_format: of both servers.
        require_all_models: whether to fail at start if a model does not load.
    """

    models: Path
    only: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    tls_certificate: str = ""
    tls_key: str = ""
    model_server_host: str = "127.0.0.1"
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


def serve(options: ServeOptions, on_ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_ready` is called when every model is ready.

    Raises:
        ServeError: it cannot start: no such model, a port is taken, or a process ends.
    """
    external = options.tfserving is not None
    # In front of TensorFlow Serving clients wait in the socket's queue while the gateway restarts.
    bind = listener if external else reserve
    with (
        tempfile.TemporaryDirectory(prefix="rockstar-", ignore_cleanup_errors=True) as folder,
        # It outlives the gateway, which takes it over again after a restart.
        bind(options.host, options.port, "--port") as bound,
    ):
        host, port = bound.getsockname()[:2]
        server = None if external else _EmbeddedServer(options, Path(folder))
        models = server.models if server else _external_models(options)
        # The gateway is alive, but not ready, while an external TensorFlow Serving is away.
        scheme = "https" if options.tls_certificate else "http"
        health = f"{scheme}://{join(reachable(host), port)}{'/readyz' if server else '/livez'}"

        def addresses() -> Addresses:
            http = f"{scheme}://{join(host, port)}"
            if server is None:
                return Addresses(http, options.tfserving or "", None, models)
            return Addresses(http, server.address("grpc"), server.address("rest"), models)

        gateway = Child(
            "gateway",
            lambda: [
                *(sys.executable, "-m", "rockstar_serving.gateway"),
                f"--bind=fd://{bound.fileno()}",
                f"--server={'gunicorn' if external else 'granian'}",
                f"--upstream={server.upstream if server else options.tfserving}",
                f"--workers={options.workers}",
                f"--tls-certificate={options.tls_certificate}",
                f"--tls-key={options.tls_key}",
                f"--log-format={options.log_format}",
                # A gateway that is killed leaves its metrics behind.
                f"--metrics-dir={os.environ.get('ROCKSTAR_METRICS_DIR') or folder}",
                *(["--require-all-models"] if options.require_all_models else []),
                *(f"--model={model}" for model in models),
                *([f"--models-config={server.config}"] if server else []),
            ],
            # The listener exists before and after the gateway: there may be no response.
            lambda: not probe.check(health, _PROBE_TIMEOUT_S),
            pass_fds=(bound.fileno(),),
            stop_timeout=GATEWAY_STOP_TIMEOUT_S,
            reloads=True,
        )
        supervisor = Supervisor([server.child, gateway] if server else [gateway])
        with supervisor.signals():
            try:
                if supervisor.start():
                    on_ready(addresses())
                    supervisor.watch(server.refresh if server else None)
            finally:
                # If it stayed open, clients would wait in its queue for nothing.
                bound.close()
                supervisor.shut_down()


def require_free_ports(options: ServeOptions) -> None:
    """Raise a ServeError that names the flag if a port of the server or the gateway is taken."""
    require_free(options.host, options.port, "--port")
    _require_free_model_server_ports(options)


def _require_free_model_server_ports(options: ServeOptions) -> None:
    ports = [port for port in (options.port, options.grpc_port, options.rest_port) if port]
    if len(set(ports)) < len(ports):
        given = ", ".join(map(str, ports))
        raise ServeError(f"--port, --grpc-port, --rest-port: expected different ports, got {given}")
    require_free(options.model_server_host, options.grpc_port, "--grpc-port")
    require_free(options.model_server_host, options.rest_port, "--rest-port")


def _external_models(options: ServeOptions) -> tuple[str, ...]:
    """The models of a TensorFlow Serving that runs elsewhere, perhaps not yet."""
    host, _, port = (options.tfserving or "").rpartition(":")
    if host.startswith("dns:"):
        host = host.rpartition("/")[2]
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ServeError(
            "--tfserving: expected HOST:PORT of its gRPC API, or dns:///NAME:PORT, got "
            f"{options.tfserving!r}"
        )
    if options.only:
        return tuple(dict.fromkeys(options.only))
    # TensorFlow Serving has no call that lists its models.
    try:
        return tuple(find_models(options.models))
    except ModelFolderError as error:
        raise ServeError(
            f"name the models that {options.tfserving} hosts with --model ({error})"
        ) from error


class _EmbeddedServer:
    """The embedded model server as a child process, with its files in an empty folder.

    Attributes:
        models: names of the models at start.
        config: its configuration, by which gateway workers run models themselves: no network hop.
        upstream: the gateway's way to it, known before it listens: both start at the same time.
        child: its process.
    """

    def __init__(self, options: ServeOptions, folder: Path) -> None:
        self._options = options
        self.models, self._text = _models_to_serve(options)
        self._socket = folder / "grpc"
        if (excess := len(os.fsencode(self._socket)) - _MAX_SOCKET_PATH_BYTES) > 0:
            raise ServeError(
                f"TMPDIR: expected a path that is {excess} bytes shorter, so that a UNIX socket "
                f"fits in, got {tempfile.gettempdir()}"
            )
        self.upstream = f"unix:{self._socket}"
        _require_free_model_server_ports(options)
        self.config = folder / "models.config"
        self.config.write_text(self._text)
        self._address_file = folder / "addresses.json"
        self._addresses: dict[str, str] = {}
        self._warned: set[str] = set()
        self._warn_of_strays()
        self._started = False
        self.child = Child("model server", self._command, self._address_file.exists)

    def address(self, api: str) -> str:
        """Host:port of an API, "grpc" or "rest", once the server is ready."""
        return self._read_addresses()[api]

    def refresh(self) -> None:
        """Serve the models that are in the folder now, with their labels."""
        try:
            _, config = _models_to_serve(self._options, at_start=False)
        except ServeError as error:
            self._warn_once(f"{error}; the models and labels stay as they were")
            return
        self._warn_of_strays()
        if config != self._text:
            try:
                replace_file(self.config, config.encode())
            except OSError as error:
                self._warn_once(f"{self.config} cannot be written ({error.strerror}): changes wait")
                return
            self._text = config

    def _command(self) -> list[str]:
        """The arguments of the process; a restart keeps the ports, which clients know."""
        known = self._read_addresses()
        ports = {
            api: known[api].rpartition(":")[2] if api in known else "auto"
            for api in ("grpc", "rest")
        }
        self._address_file.unlink(missing_ok=True)
        # After the first start, a model damaged meanwhile must not stop the others.
        strict, self._started = self._options.require_all_models and not self._started, True
        return [
            *(sys.executable, "-m", "rockstar_serving.model_server"),
            f"--model_config_file={self.config}",
            "--model_config_file_poll_wait_seconds=1",
            "--prefer_tflite_model=true",
            # Gateway workers run the models; this server gets only direct calls.
            "--litert_on_demand=true",
            f"--host={self._options.model_server_host}",
            f"--port={self._options.grpc_port or ports['grpc']}",
            f"--rest_api_port={self._options.rest_port or ports['rest']}",
            f"--grpc_socket_path={self._socket}",
            f"--address_file={self._address_file}",
            f"--require_all_models={str(strict).lower()}",
            "--wait_for_models=false",
            f"--log_format={self._options.log_format}",
            "--allow_version_labels_for_unavailable_models",
        ]

    def _read_addresses(self) -> dict[str, str]:
        """The last known host:port of "grpc" and "rest"; empty until the server is ready."""
        with contextlib.suppress(FileNotFoundError):
            self._addresses = json.loads(self._address_file.read_text())
        return self._addresses

    def _warn_of_strays(self) -> None:
        with contextlib.suppress(OSError):
            for sentence in strays(self._options.models):
                self._warn_once(sentence)

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            log.warning("%s", sentence)


def _models_to_serve(
    options: ServeOptions, *, at_start: bool = True
) -> tuple[tuple[str, ...], str]:
    """The names of the models, and the model server's configuration."""
    try:
        models = find_models(options.models)
        declared = read_models_config(options.models)
    except ModelFolderError as error:
        raise ServeError(str(error)) from error
    missing = sorted(set(options.only) - set(models))
    if missing and at_start:
        raise ServeError(
            f"{options.models} holds no model {', '.join(missing)}; it holds {', '.join(models)}"
        )
    chosen = {n: path for n, path in models.items() if not options.only or n in options.only}
    return tuple(chosen), model_config(chosen, declared)
