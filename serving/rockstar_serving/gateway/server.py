"""The gateway on gunicorn: its configuration, server hooks, draining and reloading.

Custom applications: https://docs.gunicorn.org/en/stable/custom.html
Server hooks: https://docs.gunicorn.org/en/stable/settings.html#server-hooks
"""

import contextlib
import importlib
import logging
import os
import selectors
import signal
import socket
import threading
import time
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

# Not documented, but its method `handle` is all that gets each connection, even one that sends no
# valid request.
from gunicorn.workers.gthread import ThreadWorker  # noqa: TID251

from rockstar_serving.gateway.context import RequestContext, set_context
from rockstar_serving.gateway.lifecycle import Lifecycle
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.listening import connection_limit
from rockstar_serving.supervisor import at_end_of_parent

if TYPE_CHECKING:
    from flask import Flask

# gunicorn reads headers in a thread of the pool. Threads beyond those of admitted requests keep
# slow clients from blocking probes; a thread is started only when all others are busy.
_CONNECTION_THREADS = 512
# Threads that may wait for headers; beyond them, those that have waited longest end.
_MOST_WAITING = 256
# Seconds that headers may take to arrive, if connections may be idle for as long.
_HEADERS_S = 10.0
# Connections of a worker that may be open without a request.
_IDLE_CONNECTIONS = 4096
# How long to wait for a client to close a connection after its last response.
_CLOSE_S = 2.0

log = logging.getLogger(__name__)


class GatewayWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker, in which slow clients do not block others.

    By itself it waits in a thread for the first byte of a connection, without a limit for headers,
    and in the thread that accepts connections for clients to close theirs: a malformed request, or
    an open connection after the last response, blocks all others for two seconds.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience = min(_HEADERS_S, self.cfg.keepalive)
        # The connections whose headers are awaited, and since when, by thread.
        self._awaited: dict[int, tuple[socket.socket, float]] = {}

    def run(self) -> None:
        """Serve until a signal."""
        threading.Thread(target=self._end_slow_headers, daemon=True, name="headers").start()
        super().run()

    def enqueue_req(self, conn: Any) -> None:
        """Pass a connection to a thread once it has sent something."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.timeout = time.monotonic() + self._patience
        self.pending_conns.append(conn)
        readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def handle(self, conn: Any) -> Any:
        """Handle a request; returns whether the connection stays open."""
        self._awaited[threading.get_ident()] = conn.sock, time.monotonic()
        try:
            stays_open = super().handle(conn)
        finally:
            self.headers_arrived()
        if not stays_open:
            _await_close(conn.sock)
        return stays_open

    def headers_arrived(self) -> None:
        """The headers of this thread's request are complete."""
        self._awaited.pop(threading.get_ident(), None)

    def _end_slow_headers(self) -> None:
        while True:
            time.sleep(0.25)
            latest = time.monotonic() - self._patience
            newest_first = sorted(self._awaited.values(), key=itemgetter(1), reverse=True)
            for index, (connection, began) in enumerate(newest_first):
                if began < latest or index >= _MOST_WAITING:
                    with contextlib.suppress(OSError):  # already closed
                        # The thread sees the end of the stream.
                        connection.shutdown(socket.SHUT_RD)


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """gunicorn with `gthread` workers, each with its own application."""

    def __init__(self, config: GatewayConfig, lifecycle: Lifecycle) -> None:
        """Take the settings, and the state that the processes share."""
        self._config = config
        self._lifecycle = lifecycle
        # The request of each thread, as gunicorn parsed it.
        self._current = threading.local()
        super().__init__()

    def load_config(self) -> None:
        """Pass our settings to gunicorn."""
        config = self._config
        threads = config.threads + config.queue + _CONNECTION_THREADS
        connections = connection_limit(threads + _IDLE_CONNECTIONS)
        options: dict[str, Any] = {
            "bind": config.bind,
            "workers": config.workers,
            "worker_class": GatewayWorker,
            # Some connections must be able to stay open between requests.
            "threads": max(1, min(threads, connections * 3 // 4)),
            "worker_connections": connections,
            "keepalive": config.keep_alive,
            "graceful_timeout": config.grace,
            "timeout": max(30, int(config.max_request_timeout + config.grace)),
            # Workers' heartbeat files: no other folder has to be writable.
            "worker_tmp_dir": str(self._lifecycle.metrics_folder),
            "certfile": config.tls_certificate or None,
            "keyfile": config.tls_key or None,
            "forwarded_allow_ips": ",".join(config.trusted_proxies),
            "logger_class": _Log,
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "rockstar-gateway",
            "when_ready": self._when_ready,
            "on_reload": lambda _arbiter: self._lifecycle.reload(),
            "post_worker_init": self._post_worker_init,
            "pre_request": self._pre_request,
            "worker_exit": _worker_exit,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application; called in each worker, after the fork."""
        from rockstar_serving.gateway.app import create_app

        # As gunicorn's own check of the parent, but clients are told to connect again.
        at_end_of_parent(signal.SIGTERM)()
        self._lifecycle.start_worker()
        return create_app(
            self._config,
            files=self._lifecycle.files,
            stopping=self._lifecycle.stopping,
            close_connection=lambda: self._current.request.force_close(),
        )

    def run(self) -> None:
        """Serve until a signal; does not return."""
        # After the variable for metrics is set, and before the fork: new workers serve at once.
        importlib.import_module("rockstar_serving.gateway.app")
        importlib.import_module("rockstar_client.tfserving")
        try:
            super().run()
        finally:
            self._lifecycle.remove_metrics()

    def _when_ready(self, arbiter: Any) -> None:
        self._lifecycle.drain_on_sigterm()
        self._lifecycle.announce(str(arbiter.LISTENERS[0]))

    def _post_worker_init(self, worker: Any) -> None:
        # Only in the first worker; workers that run models themselves log their loading.
        if worker.age == 1 and not self._config.models_config:
            arguments = (worker.wsgi, self._config.upstream)
            threading.Thread(target=report_upstream, args=arguments, daemon=True).start()

    def _pre_request(self, worker: GatewayWorker, request: Any) -> None:
        worker.headers_arrived()
        self._current.request = request
        options = ",".join(value for name, value in request.headers if name == "CONNECTION")
        if self._lifecycle.stopping() or "close" in options.lower().replace(" ", "").split(","):
            # The client should connect again, to another gateway; or it has asked for this, which
            # gunicorn finds only in a header of its own.
            request.force_close()
        # gunicorn accepts SCRIPT_NAME only if the proxy did not remove it from the path. It has
        # already dropped the header if the proxy is not trusted.
        headers = [(name, value) for name, value in request.headers if name != "SCRIPT_NAME"]
        if "X-FORWARDED-PREFIX" not in dict(headers):
            headers += [
                ("X-FORWARDED-PREFIX", value)
                for name, value in request.headers
                if name == "SCRIPT_NAME"
            ]
        request.headers = headers


def _await_close(connection: socket.socket) -> None:
    """Wait until the client has closed a connection after its last response, for a limited time.

    Unread data would make the kernel discard a response that the client has not received yet.
    """
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


def report_upstream(app: "Flask", upstream: str) -> None:
    """Log for each model whether the model server serves it."""
    from rockstar_serving.gateway.health import PROBE_TIMEOUT_S, probe
    from rockstar_serving.gateway.state import set_gateway

    here = app.extensions["gateway"]
    set_gateway(here)
    set_context(RequestContext("", "ops", PROBE_TIMEOUT_S, time.monotonic()))
    for model in here.served.names:
        state = probe(model)
        if state.ready:
            version = f"version {state.version}" if state.contract else "without a contract"
            log.info("%s serves %s, %s", upstream, model, version)
        else:
            log.warning(
                "%s does not serve %s yet (%s): requests get an error until it does",
                upstream,
                model,
                state.reason,
            )


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's log lines in the gateway's format."""

    def setup(self, cfg: Any) -> None:
        """Pass lines to the root logger instead of gunicorn's own handlers."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
