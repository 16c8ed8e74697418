"""The processes that answer: how ours stop, and keep connections."""

import logging
import os
import select
import threading
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# How long a thread waits for the next request of a connection.
_NEXT_REQUEST_MS = 20


class Worker(ThreadWorker):  # type: ignore[misc]
    """A worker that takes in, before it stops, whoever has connected already."""

    def run(self) -> None:
        """Serve until a signal."""
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

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request; near the end, tell the client to connect anew, elsewhere."""
        if self.app.stopping:
            req.force_close()
        return super().handle_request(req, conn)


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
