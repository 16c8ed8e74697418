"""The gateway under gunicorn: how it starts, reads its files again, and stops."""

import ipaddress
import logging
import mmap
import os
import select
import socket
import threading
import time
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from serving import logs
from serving.gateway.config import GatewayConfig
from serving.gateway.files import FilesError, read_files
from serving.gateway.shared_counts import SharedCounts

# For what is refused, and for probes: neither has to wait for room.
_SPARE_THREADS = 4
_POLL_S = 0.05
# How long a thread waits for the next request of a connection.
_NEXT_REQUEST_MS = 20

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
            "worker_class": _Worker,
            # The workers end by themselves a second before they would be killed.
            "graceful_timeout": config.grace + 1,
            "timeout": max(30, int(config.max_request_timeout + config.grace)),
            # Where workers say that they are alive: no other folder must be writable.
            "worker_tmp_dir": str(self._counts.path),
            "child_exit": self._worker_ended,
            "logger_class": _Log,
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "rockstar-gateway",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application; called in each worker, after the fork."""
        from serving.gateway.app import create_app

        logs.write_together()
        # Where workers load models too, what went well the model server says once for all.
        logging.getLogger("serving.model_server").setLevel(logging.WARNING)
        return create_app(self.config, files=self._files, stopping=lambda: self.stopping)

    def reload(self) -> None:
        """On SIGHUP, before new workers take over from the old ones."""
        try:
            self._files = read_files(self.config)
            log.info("the files were read again")
        except FilesError as error:
            log.error("what was read before stays in force: %s", error)
        super().reload()

    def _worker_ended(self, _arbiter: Arbiter, worker: ThreadWorker) -> None:
        self._counts.worker_ended(worker.pid)

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


class _Worker(ThreadWorker):  # type: ignore[misc]
    """A worker that takes in, before it stops, whoever has connected already."""

    def run(self) -> None:
        """Serve until a signal."""
        # So many at most, that threads are left for other connections.
        self._may_wait = threading.Semaphore(self.app.config.threads)
        self.cfg.set("graceful_timeout", self.app.config.grace)
        super().run()
        # What is left now had its time. Threads that wait for silent clients would hold it up.
        logging.shutdown()
        os._exit(0)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Listen or not; when it stops, for good."""
        at_the_end = not enabled and not self.alive
        if at_the_end and self._accepting:
            self._accept_the_rest()
        super().set_accept_enabled(enabled)
        if at_the_end:
            # Left open, the kernel would go on to take in connections for nobody.
            for listener in self.sockets:
                listener.close()

    def _accept_the_rest(self) -> None:
        for listener in self.sockets:
            before = -1
            while before < self.nr_conns < self.worker_connections:
                before = self.nr_conns
                self.accept(listener)

    def handle(self, conn: Any) -> Any:
        """Answer a request, and those that come on its connection right after it.

        gunicorn itself would hand the connection to another thread and back between any two of
        them, which takes as long as the rest of serving it.
        """
        while True:
            again = super().handle(conn)
            if again is not True or not self._comes_more(conn):
                return again

    def _comes_more(self, conn: Any) -> bool:
        """Wait a moment for another request, unless as many threads wait already as may."""
        if not self.alive or not self._may_wait.acquire(blocking=False):
            return False
        try:
            if conn.parser.unreader.buf.getvalue():  # read already, with the one before
                return True
            readable = select.poll()
            readable.register(conn.sock, select.POLLIN)
            return bool(readable.poll(_NEXT_REQUEST_MS))
        except (OSError, ValueError):  # closed meanwhile
            return False
        finally:
            self._may_wait.release()

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request; near the end, tell the client to connect anew, elsewhere."""
        if self.app.stopping:
            req.force_close()
        return super().handle_request(req, conn)
