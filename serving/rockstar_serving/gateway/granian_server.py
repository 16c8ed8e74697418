"""The gateway on Granian: its configuration, draining and reloading.

Source: https://github.com/emmett-framework/granian
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels

from rockstar_serving import ServeError
from rockstar_serving.gateway.lifecycle import Lifecycle
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.listening import connection_limit, join, reserve
from rockstar_serving.supervisor import at_end_of_parent

# Connections of a worker; more wait to be accepted.
_CONNECTIONS = 2048
# Of each connection: headers fit in, which are parsed again when more arrive, and pieces of bodies.
_BUFFER_BYTES = 128 * 1024
# Seconds between the start of a new worker and the end of an old one at a reload: it loads models.
_OVERLAP_S = 2.0
# A worker that is started this often within so many seconds cannot run.
_MANY_STARTS, _MANY_STARTS_S = 5, 30.0
# How long workers keep serving when their parent is killed: until another gateway serves.
_ORPHAN_S = 15
# What workers get then.
_ORPHANED = signal.SIGUSR1
# Lines of Granian in the gateway's format.
_LOGGING = {
    "handlers": {},
    "formatters": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}

log = logging.getLogger(__name__)


class GranianServer:
    """Granian with workers that each run models themselves, or call a model server."""

    def __init__(self, config: GatewayConfig, lifecycle: Lifecycle) -> None:
        """Take the settings, and the state that the processes share."""
        self._config = config
        self._lifecycle = lifecycle

    def run(self) -> None:
        """Serve until a signal; raises ServeError if the address is taken."""
        config = self._config
        gc.disable()  # imports leave no garbage, and collections take a tenth of the start
        # Workers share the code, the rate limits of keys, and the folder for metrics.
        multiprocessing.set_start_method("fork")
        # After the variable for metrics is set, and before the fork: its pages are shared.
        from PIL import Image

        from rockstar_serving.gateway.app import max_calls
        from rockstar_serving.gateway.rsgi import RsgiGateway

        Image.preinit()  # imports the usual decoders
        loader = None
        if config.models_config:
            from rockstar_serving.gateway.in_process import LiteRTLoader

            # Also the models: workers share their weights, and start at once.
            loader = LiteRTLoader(max_calls(config))
            loader.preload(Path(config.models_config))
        address: dict[str, Any]
        reserved = None
        if config.bind.startswith("unix:"):
            url, address = config.bind, {"uds": Path(config.bind.removeprefix("unix:"))}
        else:
            reserved = _reserved(config.bind)
            host, port = reserved.getsockname()[:2]
            scheme = "https" if config.tls_certificate else "http"
            url, address = f"{scheme}://{join(host, port)}", {"address": host, "port": port}
        if config.tls_certificate:
            address["ssl_cert"] = Path(config.tls_certificate)
            address["ssl_key"] = Path(config.tls_key)
        server = Granian(
            "rockstar_serving.gateway.rsgi:RsgiGateway",
            **address,
            interface=Interfaces.RSGI,
            workers=config.workers,
            http=HTTPModes.http1,
            ssl_protocol_min=SSLProtocols.tls12,
            websockets=False,
            backlog=2048,
            backpressure=connection_limit(_CONNECTIONS),
            # The timeout is also how long an idle connection stays open.
            http1_settings=HTTP1Settings(
                header_read_timeout=config.keep_alive * 1000, max_buffer_size=_BUFFER_BYTES
            ),
            log_level=LogLevels.warning,
            log_dictconfig=_LOGGING,
            respawn_failed_workers=True,
            respawn_interval=_OVERLAP_S,
            workers_kill_timeout=max(1, config.grace),
        )
        server.respawned_wrks = _Restarts()
        server.on_startup(self._lifecycle.drain_on_sigterm)
        server.on_reload(self._lifecycle.reload)
        if loader is not None:
            server.on_reload(partial(loader.preload, Path(config.models_config)))
        try:
            # No thread may run in this process when it forks.
            make = partial(RsgiGateway, load=loader)
            load = partial(self._load, make, partial(self._announce, url))
            # A garbage collection in a worker would copy the pages of all objects.
            gc.freeze()
            gc.enable()
            server.serve(target_loader=load, wrap_loader=False)
        finally:
            # None is left, except after an error: they would keep this process from ending.
            left = multiprocessing.active_children()
            for worker in left:
                worker.terminate()
            for worker in left:
                worker.join(config.grace)
                worker.kill()
            self._lifecycle.remove_metrics()
            if reserved is not None:
                reserved.close()

    def _load(self, application: Callable[..., Any], on_ready: Callable[[], None]) -> Any:
        """The application; called in each worker, after the fork."""
        # Until Granian handles signals in this process, they must end it.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, _ORPHANED):
            signal.signal(number, signal.SIG_DFL)
        at_end_of_parent(_ORPHANED)()
        lifecycle = self._lifecycle
        is_retiring = lifecycle.start_worker()

        def on_start() -> None:
            # A signal that arrives before the event loop runs can be lost.
            asyncio.get_running_loop().add_signal_handler(_ORPHANED, self._outlive_parent)
            parent = multiprocessing.parent_process()
            if parent is not None and os.getppid() != parent.pid:  # it has ended already
                self._outlive_parent()
            on_ready()

        return application(self._config, lifecycle.files, lifecycle.stopping, on_start, is_retiring)

    def _outlive_parent(self) -> None:
        """Serve until another gateway does, if there is a supervisor to start it; then stop."""
        self._lifecycle.retire_workers()
        delay = _ORPHAN_S if self._config.bind.startswith("fd://") else 0
        # Nobody else ends a worker that does not stop: SIGALRM does by default.
        signal.alarm(delay + self._config.grace + 1)
        asyncio.get_running_loop().call_later(delay, os.kill, os.getpid(), signal.SIGTERM)

    def _announce(self, url: str) -> None:
        """Report the address; the first worker that responds calls it."""
        try:
            (self._lifecycle.metrics_folder / "announced").touch(exist_ok=False)
        except FileExistsError:
            return
        self._lifecycle.announce(url)


class _Restarts(dict[int, float]):
    """When each worker was started again, by its index.

    Granian ends the gateway if a worker ends within 5.5 s of that time, even after a reload. Here
    it does so only if that worker was started often before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._starts: dict[int, deque[float]] = {}

    def __setitem__(self, index: int, started: float) -> None:
        starts = self._starts.setdefault(index, deque(maxlen=_MANY_STARTS))
        starts.append(started)
        often = len(starts) == _MANY_STARTS and started - starts[0] < _MANY_STARTS_S
        super().__setitem__(index, started if often else 0.0)


def _reserved(bind: str) -> socket.socket:
    """The reserved address: of this process, or of the parent that passed its descriptor.

    Raises:
        ServeError: the address is taken, or the descriptor is not of a reserved address.
    """
    if bind.startswith("fd://"):
        reserved = socket.socket(fileno=int(bind.removeprefix("fd://")))
        # Granian listens on sockets of its own; connections to another one would wait for ever.
        shared = reserved.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        if not shared or reserved.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ServeError(
                f"bind: expected a socket that is bound with SO_REUSEPORT and does not listen, "
                f"got {bind}; for a listening one, as of systemd, set --server to gunicorn"
            )
        return reserved
    host, _, port = bind.rpartition(":")
    return reserve(host.strip("[]"), int(port), "--bind")
