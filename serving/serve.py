"""`rockstar serve`: the embedded model server and the gateway, or the gateway alone."""

import contextlib
import http.client
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.listening import host_and_port, in_url, listener, reachable, require_free
from serving.logs import LogFormat
from serving.model_folder import ModelFolderError, find_models, model_config
from serving.models_config import declared
from serving.supervisor import Child, ServeError, Supervisor

# The gateway ends by itself, after its settings ROCKSTAR_DRAIN and ROCKSTAR_GRACE.
GATEWAY_STOP_TIMEOUT_S = 120.0

log = logging.getLogger(__name__)

_PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class ServeOptions:
    """What to serve and where.

    Attributes:
        models: folder of models, `<model>/<version>/`; labels are those of its models.config.
        only: names of the models to serve; none is all in the folder.
        host: address to listen on.
        port: of the gateway; 0 picks a free one, here as below.
        grpc_port: of the model server.
        rest_port: of the model server.
        workers: processes of the gateway.
        tfserving: "host:port" of a TensorFlow Serving to use instead of the embedded server.
        log_format: of both servers.
    """

    models: Path
    only: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 8500
    rest_port: int = 8501
    workers: int = 2
    tfserving: str | None = None
    log_format: LogFormat = "text"


@dataclass(frozen=True)
class Addresses:
    """Where a running service answers; `rest` is None with a TensorFlow Serving elsewhere."""

    http: str
    grpc: str
    rest: str | None
    models: tuple[str, ...]


def serve(options: ServeOptions, on_ready: Callable[[Addresses, Callable[[], bool]], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: what and where.
        on_ready: told the addresses when every model answers, and given a function that says
            whether to stop by now.

    Raises:
        ServeError: it cannot start or go on.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rockstar-")))
        listening = stack.enter_context(listener(options.host, options.port, "--port"))
        host, port = listening.getsockname()[:2]
        if options.tfserving is None:
            models, config = _models_to_serve(options)
            require_free(options.host, options.grpc_port, "--grpc-port")
            require_free(options.host, options.rest_port, "--rest-port")
            model_server = _ModelServer(options, config, folder)
            upstream: Callable[[], str] = model_server.grpc_address
            # Gateway workers run what they can themselves: no hop, and no copy on the way.
            here: Path | None = model_server.config
            children = [Child("model server", model_server.command, model_server.is_ready)]
        else:
            address = host_and_port(options.tfserving)
            models = _models_elsewhere(options)
            upstream, children, here = lambda: address, [], None
        # The listener is ours and outlives a worker: while the gateway is restarted, callers wait.
        gateway = Child(
            "gateway",
            lambda: _gateway_command(listening.fileno(), upstream(), tuple(models), options, here),
            # A TensorFlow Serving elsewhere may come later: until then the gateway says so.
            lambda: _answers(host, port, "/livez" if options.tfserving else "/readyz"),
            pass_fds=(listening.fileno(),),
            stop_timeout=GATEWAY_STOP_TIMEOUT_S,
            reloads=True,
        )
        supervisor = Supervisor([*children, gateway])
        with supervisor.signals():
            try:
                if supervisor.start():
                    rest = None if options.tfserving else model_server.addresses()["rest"]
                    url = f"http://{in_url(host)}:{port}"
                    addresses = Addresses(url, upstream(), rest, tuple(models))
                    on_ready(addresses, lambda: supervisor.stopping)
                    _warn_of_silent_models(host, port)
                    supervisor.watch()
            finally:
                # Were it open here, callers would wait in its queue for nobody.
                listening.close()
                supervisor.shut_down()


def require_free_ports(options: ServeOptions) -> None:
    """Check beforehand that the embedded server and the gateway will find their ports free.

    Raises:
        ServeError: one is taken, or the host is not one of this machine; it names the flag.
    """
    require_free(options.host, options.port, "--port")
    require_free(options.host, options.grpc_port, "--grpc-port")
    require_free(options.host, options.rest_port, "--rest-port")


class _ModelServer:
    """The embedded model server as a child: its files, its command, its addresses."""

    def __init__(self, options: ServeOptions, config: str, folder: Path) -> None:
        self._options = options
        self._addresses = folder / "addresses.json"
        self.config = folder / "models.config"
        self.config.write_text(config)
        self._known: dict[str, str] = {}
        self._started = False

    def command(self) -> list[str]:
        """Ports that were picked once are kept: callers know them."""
        grpc = self._options.grpc_port or _port(self.addresses().get("grpc"))
        rest = self._options.rest_port or _port(self.addresses().get("rest"))
        self._addresses.unlink(missing_ok=True)
        # Once in service, a model that was damaged meanwhile must not take the others down.
        strict, self._started = not self._started, True
        return [
            *(sys.executable, "-m", "serving.model_server"),
            f"--model_config_file={self.config}",
            "--prefer_tflite_model=true",
            # Gateway workers run the models; it is asked only by those who call it directly.
            "--litert_on_demand=true",
            f"--host={self._options.host}",
            f"--port={grpc}",
            f"--rest_api_port={rest}",
            f"--address_file={self._addresses}",
            f"--require_all_models={str(strict).lower()}",
            f"--log_format={self._options.log_format}",
            "--allow_version_labels_for_unavailable_models",
        ]

    def is_ready(self) -> bool:
        """The server writes its addresses when it is ready."""
        return self._addresses.exists()

    def grpc_address(self) -> str:
        """Where this machine reaches the gRPC API."""
        host, _, port = self.addresses()["grpc"].rpartition(":")
        return f"{reachable(host)}:{port}"

    def addresses(self) -> dict[str, str]:
        """The last known host:port of "grpc" and "rest"; empty until it is ready."""
        with contextlib.suppress(FileNotFoundError):
            self._known = json.loads(self._addresses.read_text())
        return self._known


def _gateway_command(
    listener: int,
    upstream: str,
    models: tuple[str, ...],
    options: ServeOptions,
    here: Path | None,
) -> list[str]:
    return [
        *(sys.executable, "-m", "serving.gateway"),
        f"--bind=fd://{listener}",
        f"--upstream={upstream}",
        f"--workers={options.workers}",
        f"--log-format={options.log_format}",
        *(f"--model={model}" for model in models),
        *([f"--models-config={here}"] if here else []),
    ]


def _models_to_serve(options: ServeOptions) -> tuple[dict[str, Path], str]:
    """The folders of the models by name, and the model server's configuration."""
    try:
        models = find_models(options.models)
        labelled = declared(options.models)
    except ModelFolderError as error:
        raise ServeError(str(error)) from error
    missing = sorted(set(options.only) - set(models))
    if missing:
        raise ServeError(
            f"{options.models} holds no model {', '.join(missing)}; it holds {', '.join(models)}"
        )
    chosen = {n: path for n, path in models.items() if not options.only or n in options.only}
    return chosen, model_config(chosen, labelled)


def _models_elsewhere(options: ServeOptions) -> dict[str, Path]:
    """The names to list; TensorFlow Serving has no call that would tell them."""
    if options.only:
        return dict.fromkeys(options.only, options.models)
    try:
        return find_models(options.models)
    except ModelFolderError as error:
        raise ServeError(
            f"name the models that {options.tfserving} hosts with --model ({error})"
        ) from error


def _answers(host: str, port: int, path: str) -> bool:
    try:
        return _get(host, port, path)[0] == http.HTTPStatus.OK
    except OSError:
        return False


def _warn_of_silent_models(host: str, port: int) -> None:
    """Say which models do not answer, and why; behind a TensorFlow Serving they may come later."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        for model, state in json.loads(_get(host, port, "/readyz")[1])["models"].items():
            if not state["ready"]:
                log.warning("model %s does not answer yet: %s", model, state["reason"])


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    # The listener is there before the gateway, and stays where that ends: nobody may answer.
    connection = http.client.HTTPConnection(reachable(host), port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _port(address: str | None) -> str:
    return "auto" if address is None else address.rpartition(":")[2]
