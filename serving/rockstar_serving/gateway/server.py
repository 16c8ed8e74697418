"""The gateway on gunicorn: its configuration, server hooks, draining and reloading.

Custom applications: https://docs.gunicorn.org/en/stable/custom.html
Server hooks: https://docs.gunicorn.org/en/stable/settings.html#server-hooks
"""

import contextlib
import logging
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from rockstar_serving.gateway.settings import FilesError, GatewayConfig, read_files
from rockstar_serving.gateway.shared_counts import SharedCounts

if TYPE_CHECKING:
    from flask import Flask

# gunicorn reads headers in a thread of the pool, without a time limit, and watches a connection
# that has not sent anything for 5 s there. Threads beyond those of admitted requests keep slow and
# silent clients from blocking probes; a thread is started only when all others are busy.
_CONNECTION_THREADS = 512
# Connections of a worker that may stay open between requests.
_IDLE_CONNECTIONS = 400
# How long to wait for a client to close a connection after its last response.
_CLOSE_S = 2.0

log = logging.getLogger(__name__)


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """gunicorn with `gthread` workers, each with its own application."""

    def __init__(
        self, config: GatewayConfig, on_ready: Callable[[str], None] | None = None
    ) -> None:
        """Read the files that the settings name, and create the folder for metrics.

        Args:
            config: settings.
            on_ready: called with the address when the server listens; by default it is logged.

        Raises:
            FilesError: a file or the folder cannot be used.
        """
        self.config = config
        self._on_ready = on_ready
        self.files = read_files(config)
        self._counts = SharedCounts(config.metrics_dir)
        # A byte of memory shared with the workers: 1 once the server is about to stop.
        self._stopping = mmap.mmap(-1, 1)
        # The request of each thread, as gunicorn parsed it.
        self._current = threading.local()
        super().__init__()

    @property
    def stopping(self) -> bool:
        """Whether the server is about to stop: load balancers should send nothing new."""
        return self._stopping[0] == 1

    def load_config(self) -> None:
        """Pass our settings to gunicorn."""
        config = self.config
        threads = config.threads + config.queue + _CONNECTION_THREADS
        options: dict[str, Any] = {
            "bind": config.bind,
            "workers": config.workers,
            "worker_class": "gthread",
            "threads": threads,
            "worker_connections": threads + _IDLE_CONNECTIONS,
            "keepalive": config.keep_alive,
            "graceful_timeout": config.grace,
            "timeout": max(30, int(config.max_request_timeout + config.grace)),
            # Workers' heartbeat files: no other folder has to be writable.
            "worker_tmp_dir": str(self._counts.path),
            "forwarded_allow_ips": ",".join(config.trusted_proxies),
            "logger_class": _Log,
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "rockstar-gateway",
            "when_ready": self._when_ready,
            "on_reload": self._on_reload,
            "post_worker_init": self._post_worker_init,
            "pre_request": self._pre_request,
            "post_request": _post_request,
            "worker_exit": _worker_exit,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application; called in each worker, after the fork."""
        from rockstar_contract.images import ignore_warnings
        from rockstar_serving.gateway.app import create_app

        ignore_warnings()
        # The model server logs successful loading once; not again in each worker.
        logging.getLogger("rockstar_serving.model_server").setLevel(logging.WARNING)
        return create_app(
            self.config,
            files=self.files,
            stopping=lambda: self.stopping,
            close_connection=lambda: self._current.request.force_close(),
        )

    def run(self) -> None:
        """Serve until a signal; does not return."""
        try:
            super().run()
        finally:
            self._counts.remove()

    def _when_ready(self, arbiter: Any) -> None:
        self._drain_on_sigterm()
        address = str(arbiter.LISTENERS[0])
        if self._on_ready is not None:
            self._on_ready(address)
        elif not self.config.bind.startswith("fd://"):  # `rockstar serve` reports its own socket
            log.info("serving on %s (page to try it: /, API: /docs)", address)

    def _drain_on_sigterm(self) -> None:
        """On SIGTERM make `/readyz` fail, and stop `drain` seconds later or at the next SIGTERM."""
        stop: Any = signal.getsignal(signal.SIGTERM)  # gunicorn's

        def drain(number: int, frame: Any) -> None:
            if self.stopping or not self.config.drain:
                stop(number, frame)
                return
            self._stopping[0] = 1
            signal.signal(signal.SIGALRM, lambda _, frame: stop(signal.SIGTERM, frame))
            signal.setitimer(signal.ITIMER_REAL, self.config.drain)

        signal.signal(signal.SIGTERM, drain)

    def _on_reload(self, _arbiter: Any) -> None:
        """On SIGHUP, before new workers replace the old ones."""
        try:
            self.files = read_files(self.config)
            log.info("read the routes file and the API keys again")
        except FilesError as error:
            log.error("kept the earlier routes and API keys: %s", error)

    def _post_worker_init(self, worker: Any) -> None:
        # Only in the first worker; workers that run models themselves log their loading.
        if worker.age == 1 and not self.config.models_config:
            arguments = (worker.wsgi, self.config.upstream)
            threading.Thread(target=_report_upstream, args=arguments, daemon=True).start()

    def _pre_request(self, _worker: Any, request: Any) -> None:
        self._current.request = request
        if self.stopping:
            # The client should connect again, to another gateway.
            request.force_close()
        names = [name for name, _ in request.headers]
        if "SCRIPT_NAME" in names and "X-FORWARDED-PREFIX" not in names:
            # gunicorn accepts the prefix only if the proxy did not remove it from the path. It has
            # already dropped the header if the proxy is not trusted.
            index = names.index("SCRIPT_NAME")
            request.headers[index] = ("X-FORWARDED-PREFIX", request.headers[index][1])


def _post_request(_worker: Any, _request: Any, environ: dict[str, Any], response: Any) -> None:
    """Wait for the client to close a connection after its last response.

    gunicorn waits in the thread that accepts connections: a client that leaves its side open would
    block all others for two seconds.
    """
    if response is None or not response.should_close():
        return
    connection: socket.socket = environ["gunicorn.socket"]
    deadline = time.monotonic() + _CLOSE_S
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(64 * 1024):
                break
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _worker_exit(_arbiter: Any, worker: Any) -> None:
    """Exit after the grace period, even if threads still wait for silent clients."""
    if worker.booted:
        logging.shutdown()
        os._exit(0)


def _report_upstream(app: "Flask", upstream: str) -> None:
    """Log for each model whether the model server serves it."""
    models = app.test_client().get("/readyz").get_json().get("models", {})
    for model, state in models.items():
        if state["ready"]:
            log.info("%s serves %s, version %d", upstream, model, state["version"])
        else:
            log.warning(
                "%s does not serve %s yet (%s): requests get an error until it does",
                *(upstream, model, state["reason"]),
            )


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's log lines in the gateway's format."""

    def setup(self, cfg: Any) -> None:
        """Pass lines to the root logger instead of gunicorn's own handlers."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
