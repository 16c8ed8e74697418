"""`rockstar serve`: the embedded model server and the gateway, or the gateway alone."""

import contextlib
import http.client
import logging
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rockstar_serving.listening import in_url, listener, reachable, require_free
from rockstar_serving.serve_options import ServeOptions
from rockstar_serving.supervisor import Child, Supervisor
from rockstar_serving.upstream import Upstream, elsewhere, embedded

# The gateway ends by itself, after its settings ROCKSTAR_DRAIN and ROCKSTAR_GRACE.
GATEWAY_STOP_TIMEOUT_S = 120.0

log = logging.getLogger(__name__)

_PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Addresses:
    """Where a running service answers; `rest` is None with a TensorFlow Serving elsewhere."""

    http: str
    grpc: str
    rest: str | None
    models: tuple[str, ...]


def serve(options: ServeOptions, on_ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        options: what and where.
        on_ready: called with the addresses when every model answers.

    Raises:
        ServeError: it cannot start or go on.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rockstar-")))
        listening = stack.enter_context(listener(options.host, options.port, "--port"))
        host, port = listening.getsockname()[:2]
        if options.tfserving is None:
            upstream = embedded(options, folder)
        else:
            upstream = elsewhere(options, options.tfserving)
        gateway = _gateway(listening, upstream, options)
        supervisor = Supervisor([*upstream.children, gateway])
        with supervisor.signals():
            try:
                if supervisor.start():
                    url = f"http://{in_url(host)}:{port}"
                    addresses = Addresses(url, upstream.grpc(), upstream.rest(), upstream.models)
                    on_ready(addresses)
                    supervisor.watch(upstream.refresh)
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


def _gateway(listening: socket.socket, upstream: Upstream, options: ServeOptions) -> Child:
    host, port = listening.getsockname()[:2]
    # A TensorFlow Serving elsewhere may come later: until then the gateway says so.
    path = "/livez" if options.tfserving else "/readyz"
    # The listener is ours and outlives a worker: while the gateway is restarted, callers wait.
    return Child(
        "gateway",
        lambda: _gateway_command(listening.fileno(), upstream, options),
        lambda: _answers(host, port, path),
        pass_fds=(listening.fileno(),),
        stop_timeout=GATEWAY_STOP_TIMEOUT_S,
        reloads=True,
    )


def _gateway_command(listener: int, upstream: Upstream, options: ServeOptions) -> list[str]:
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


def _answers(host: str, port: int, path: str) -> bool:
    try:
        return _get(host, port, path)[0] == http.HTTPStatus.OK
    except OSError:
        return False


def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    # The listener is there before the gateway, and stays where that ends: nobody may answer.
    connection = http.client.HTTPConnection(reachable(host), port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
