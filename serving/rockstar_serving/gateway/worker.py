"""The processes that answer: how ours stop, and keep connections."""

import contextlib
import logging
import os
import select
import threading
from time import monotonic
from typing import Any

from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from rockstar_serving.gateway.balance import Share
from rockstar_serving.gateway.outbox import Outbox
from rockstar_serving.gateway.unparsed import problem_instead

# Connections that a worker takes in before it looks at those that it has.
_AT_ONCE = 8
# How long a connection may take to send something for the first time. Between requests it may be
# silent for as long as the settings say.
FIRST_REQUEST_S = 7.0
# How long a thread waits for the next request of a connection.
_NEXT_REQUEST_MS = 20


class Worker(ThreadWorker):  # type: ignore[misc]
    """Takes in its share of the connections and, before it stops, whoever has connected already."""

    def run(self) -> None:
        """Serve until a signal."""
        self._share = Share(self.app.connections, self.age)
        self.cfg.set("graceful_timeout", self.app.config.grace)
        super().run()
        # What is left now had its time. Threads that wait for silent clients would hold it up.
        logging.shutdown()
        os._exit(0)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Serve what has come."""
        if not self.alive:
            self._share.leave()
        else:
            self._share.tell(self.nr_conns)
            if not self._accepting:
                timeout = min(timeout, max(0.0, self._share.pause_until - monotonic()))
        super().wait_for_and_dispatch_events(timeout)

    def accept(self, listener: Any) -> None:
        """Take in some of the connections that wait, or leave them to workers that have fewer."""
        for _ in range(_AT_ONCE):
            if not self._share.takes_another(self.nr_conns):
                self.set_accept_enabled(False)
                return
            before = self.nr_conns
            self.take_in(listener)
            if self.nr_conns == before:
                return
            self._share.tell(self.nr_conns)

    def take_in(self, listener: Any) -> None:
        """Take in a connection, if one waits."""
        super().accept(listener)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Listen or not; when it stops, for good."""
        if enabled and monotonic() < self._share.pause_until:
            return
        at_the_end = not enabled and not self.alive
        if at_the_end:
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
                self.take_in(listener)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """A thread has served a request, or has seen none on a new connection."""
        super().finish_request(conn, fs)
        if self.pending_conns and self.pending_conns[-1] is conn:
            conn.timeout = monotonic() + FIRST_REQUEST_S

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request; near the end, tell the client to connect anew, elsewhere."""
        if self.app.stopping:
            req.force_close()
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what cannot be read as a request, or failed outside of the application."""
        said = Outbox()
        super().handle_error(req, said, addr, exc)
        if content := said.content():
            with contextlib.suppress(OSError):  # the client is gone
                write_nonblock(client, problem_instead(content, exc))


class ThreadsWorker(Worker):
    """A worker whose requests have a thread each, which keeps a connection for its next request."""

    def run(self) -> None:
        """Serve until a signal."""
        # So many at most, that threads are left for other connections.
        self._may_wait = threading.Semaphore(self.app.config.threads)
        super().run()

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
