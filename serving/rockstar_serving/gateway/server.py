"""The gateway under gunicorn: how it starts, reads its files again, and stops."""

import gc
import ipaddress
import logging
import mmap
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from rockstar_serving import logs
from rockstar_serving.gateway.balance import Connections
from rockstar_serving.gateway.config import GatewayConfig
from rockstar_serving.gateway.files import FilesError, read_files
from rockstar_serving.gateway.shared_counts import SharedCounts
from rockstar_serving.gateway.short_requests import forward_script_name
from rockstar_serving.gateway.turns import Turns
from rockstar_serving.gateway.worker import ThreadsWorker, Worker

if TYPE_CHECKING:
    from flask import Flask

# For what is refused, and for probes: neither has to wait for room.
_SPARE_THREADS = 4
_POLL_S = 0.05

log = logging.getLogger(__name__)


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """gunicorn with threaded workers, each with an application and a connection of its own."""

    def __init__(self, config: GatewayConfig) -> None:
        """Read the files that the settings name; `run` removes the folder that this makes.

        Raises:
            FilesError: one of them, or the folder for metrics, cannot be used.
        """
        self.config = config
        self._files = read_files(config)
        try:
            self._counts = SharedCounts(config.metrics_dir)
        except OSError as error:
            raise FilesError(
                f"ROCKSTAR_METRICS_DIR: expected a folder to write to, got {error.filename or ''}: "
                f"{error.strerror}"
            ) from error
        # One byte of memory that the workers share: 1 when the gateway is about to stop.
        self._stopping = mmap.mmap(-1, 1)
        self.connections = Connections()
        # The request that each thread answers.
        self._answered = threading.local()
        # A worker may set it before it calls `load`.
        self.turns = Turns()
        super().__init__()

    @property
    def stopping(self) -> bool:
        """Whether the gateway is about to stop: nobody should send anything new."""
        return self._stopping[0] == 1

    def say_stopping(self) -> None:
        """Let every worker's `/readyz` fail from now on."""
        self._stopping[0] = 1

    def load_config(self) -> None:
        """Hand our settings to gunicorn."""
        config = self.config
        options: dict[str, Any] = {
            "bind": config.bind,
            "workers": config.workers,
            "threads": config.threads + config.queue + _SPARE_THREADS,
            "worker_class": self._worker_class(),
            # The workers end by themselves a second before they would be killed.
            "graceful_timeout": config.grace + 1,
            "timeout": max(30, int(config.max_request_timeout + config.grace)),
            # Where workers say that they are alive: no other folder must be writable.
            "worker_tmp_dir": str(self._counts.path),
            "when_ready": self._listening,
            "post_worker_init": self._worker_started,
            "child_exit": self._worker_ended,
            "pre_request": self._request_begins,
            "keepalive": config.keep_alive,
            "forwarded_allow_ips": ",".join(config.trusted_proxies),
            "logger_class": _Log,
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "rockstar-gateway",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _worker_class(self) -> type[Worker]:
        if not self.config.models_config:
            return ThreadsWorker
        # Not for every gateway: what it needs is installed with LiteRT.
        from rockstar_serving.gateway.shared_worker import SharedWorker

        return SharedWorker

    def load(self) -> Any:
        """The application; called in each worker, after the fork."""
        from rockstar_contract.images import ignore_warnings
        from rockstar_serving.gateway.app import create_app

        ignore_warnings()
        logs.write_together()
        # Where workers load models too, what went well the model server says once for all.
        logging.getLogger("rockstar_serving.model_server").setLevel(logging.WARNING)
        app = create_app(
            self.config,
            files=self._files,
            stopping=lambda: self.stopping,
            turns=self.turns,
            close_connection=self._close_connection,
        )
        # What is there by now stays: looking through it for garbage would hold up requests.
        gc.freeze()
        return app

    def reload(self) -> None:
        """On SIGHUP, before new workers take over from the old ones."""
        try:
            self._files = read_files(self.config)
            log.info("the files were read again")
        except FilesError as error:
            log.error("what was read before stays in force: %s", error)
        super().reload()

    def _listening(self, arbiter: Arbiter) -> None:
        if self.config.bind.startswith("fd://"):
            return  # whoever opened the socket says where it is
        for address in map(str, arbiter.LISTENERS):
            log.info("serving on %s (page to try it: /, API: /docs)", address)

    def _worker_started(self, worker: Worker) -> None:
        # Once, not again in every worker; those that run models themselves report their loading.
        if worker.age == 1 and not self.config.models_config:
            arguments = (worker.wsgi, self.config.upstream)
            threading.Thread(target=_report_upstream, args=arguments, daemon=True).start()

    def _request_begins(self, _worker: Worker, request: Any) -> None:
        self._answered.request = request
        forward_script_name(request)

    def _close_connection(self) -> None:
        """After the response to the request of this thread; gunicorn ignores the header itself."""
        self._answered.request.force_close()

    def _worker_ended(self, _arbiter: Arbiter, worker: Worker) -> None:
        self._counts.worker_ended(worker.pid)
        self.connections.leave(worker.age)

    def run(self) -> None:
        """Serve until a signal; does not return."""
        try:
            self._serve()
        finally:
            self._counts.remove()

    def _serve(self) -> None:
        if not self._files.keys and not _is_local(self.config.bind):
            log.warning(
                "whoever reaches %s may ask: there are no API keys (rockstar gateway --make-key)",
                self.config.bind,
            )
        _Arbiter(self).run()


def _report_upstream(app: "Flask", upstream: str) -> None:
    """Log for each model whether the model server answers for it."""
    models = app.test_client().get("/readyz").get_json().get("models", {})
    for model, state in models.items():
        if state["ready"]:
            log.info("%s answers for %s, version %d", upstream, model, state["version"])
        else:
            log.warning(
                "%s does not answer for %s yet (%s): requests get an error until it does",
                *(upstream, model, state["reason"]),
            )


def _is_local(bind: str) -> bool:
    """Whether only this machine reaches an address."""
    if bind.startswith("unix:"):
        return True
    host = bind.rpartition(":")[0].strip("[]")
    if bind.startswith("fd://"):
        with socket.socket(fileno=os.dup(int(bind.removeprefix("fd://")))) as listener:
            host = listener.getsockname()[0]
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # the path of a socket, or a name
        return "/" in host


class _Log(Logger):  # type: ignore[misc]
    """What gunicorn says, among the lines of the gateway."""

    def setup(self, cfg: Any) -> None:
        """Hand lines to the root logger, instead of writing them in a format of its own."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Arbiter(Arbiter):  # type: ignore[misc]
    """The parent of the workers; on SIGTERM it first lets load balancers turn away."""

    def handle_term(self) -> None:
        """SIGTERM: say it to probes and go on for a while; a second signal ends that."""
        self.app.say_stopping()
        until = time.monotonic() + self.app.config.drain
        while time.monotonic() < until and self.SIG_QUEUE.empty():
            time.sleep(_POLL_S)
        raise StopIteration
