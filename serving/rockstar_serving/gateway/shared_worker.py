"""A worker whose short requests share its main thread; all others have a thread each."""

import contextlib
from concurrent.futures import Executor
from functools import partial
from selectors import EVENT_READ
from time import monotonic
from typing import Any

from gunicorn import http
from gunicorn.http.wsgi import Response
from gunicorn.workers.gthread import TConn

from rockstar_serving.gateway.outbox import Outbox
from rockstar_serving.gateway.refusals import Refusals
from rockstar_serving.gateway.shared_thread import SharedThread
from rockstar_serving.gateway.short_requests import LARGEST, Heads, ShortRequest, short_request
from rockstar_serving.gateway.worker import FIRST_REQUEST_S, Worker


class SharedWorker(Worker):
    """Serves short requests for predictions as `SharedThread` does, all others as gunicorn does."""

    def get_thread_pool(self) -> Executor:
        """The threads; called before `load`, which needs to know how requests take turns."""
        threads: Executor = super().get_thread_pool()
        self._shared = SharedThread(threads, lambda: self.method_queue.defer(_nothing))
        self.app.turns = self._shared
        # Whose requests were begun since the worker last looked for new ones.
        self._begun: list[_Connection] = []
        return threads

    def run(self) -> None:
        """Serve until a signal."""
        self._refusals = Refusals(self.wsgi.extensions["gateway"].observer)
        self._shared.at_rest(self._refusals.tell)
        super().run()

    def take_in(self, listener: Any) -> None:
        """Take in a connection, and its request if it is there already."""
        before = self.nr_conns
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            sock, address = listener.accept()
            self.nr_conns += 1
        if self.nr_conns == before:
            return
        conn = _Connection(self.cfg, sock, address, listener.getsockname())
        conn.timeout = monotonic() + FIRST_REQUEST_S
        self.pending_conns.append(conn)
        self._watch(conn)
        self._readable(conn, sock)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Serve what has come, and what need not wait any more."""
        super().wait_for_and_dispatch_events(min(timeout, self._shared.patience()))
        self._shared.go_on()
        for conn in self._begun:
            if conn.busy and conn.watched:
                self._unwatch(conn)
        self._begun.clear()

    def on_client_socket_readable(self, conn: "_Connection", client: Any) -> None:
        """There is another request, or the end; called where a thread had the connection."""
        self._readable(conn, client)

    on_pending_socket_readable = on_client_socket_readable

    def finish_request(self, conn: "_Connection", fs: Any) -> None:
        """A thread has served a request."""
        conn.watched = True
        super().finish_request(conn, fs)

    def _watch(self, conn: "_Connection") -> None:
        self.poller.register(conn.sock, EVENT_READ, partial(self._readable, conn))
        conn.watched = True

    def _unwatch(self, conn: "_Connection") -> None:
        self.poller.unregister(conn.sock)
        conn.watched = False

    def _readable(self, conn: "_Connection", _: Any) -> None:
        try:
            data = conn.sock.recv(LARGEST)
        except BlockingIOError:
            return
        except OSError:  # reset
            data = b""
        try:
            self.keepalived_conns.remove(conn)
        except ValueError:  # its first request
            self.pending_conns.remove(conn)
        if not data:
            self._unwatch(conn)
            self.nr_conns -= 1
            conn.close()
            return
        if (request := short_request(data)) is None:
            conn.parser.unreader.unread(data)
            self._unwatch(conn)
            self.enqueue_req(conn)
        elif self._shared.full and (refusal := self._refused(data)):
            self._answer(conn, refusal, keep=True)
        else:
            conn.busy = True
            self._begun.append(conn)
            self._shared.start(partial(self._serve, conn, request, data))

    def _refused(self, data: bytes) -> bytes | None:
        return None if self.app.stopping or not self.alive else self._refusals.again(data)

    def _serve(self, conn: "_Connection", request: ShortRequest, data: bytes) -> None:
        """Answer a request; within the shared thread."""
        req, outbox = None, Outbox()
        keep = False
        try:
            req, environ = conn.heads.read(request)
            keep = self._respond(req, environ, outbox)
        except Exception as error:
            # Nothing was sent yet.
            outbox = Outbox()
            self.handle_error(req, outbox, conn.client, error)
        answer = outbox.content()
        # Nobody else was served between that and this.
        if self._shared.refused:
            self._shared.refused = False
            if keep:
                self._refusals.keep(data, answer)
        self._answer(conn, answer, keep)

    def _respond(self, req: Any, environ: dict[str, Any], outbox: Outbox) -> bool:
        """Have the application answer; whether the connection is kept."""
        response = Response(req, outbox, self.cfg)
        # Near the end a client shall connect anew, elsewhere.
        if self.app.stopping or not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            response.force_close()
        parts = self.wsgi(environ, response.start_response)
        try:
            for part in parts:
                response.write(part)
            response.close()
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return not response.should_close()

    def _answer(self, conn: "_Connection", answer: bytes, keep: bool) -> None:
        conn.busy = False
        try:
            sent = conn.sock.send(answer)
        except BlockingIOError:
            sent = 0
        except OSError:  # the client is gone
            sent, keep = len(answer), False
        if sent == len(answer) and keep and self.alive:
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            if not conn.watched:
                self._watch(conn)
            return
        if conn.watched:
            self._unwatch(conn)
        # A client may be slow to take its answer, or to close.
        seconds = self.app.config.request_timeout
        future = self.tpool.submit(_send_all, conn, answer[sent:], seconds, keep)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )


class _Connection(TConn):  # type: ignore[misc]
    """A connection that is not looked at by a thread first.

    Attributes:
        watched: whether the poller tells when it is readable.
        busy: whether a request of it is being served in the shared thread.
    """

    def __init__(self, cfg: Any, sock: Any, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.parser = http.get_parser(cfg, sock, client)
        self.heads = Heads(cfg, client, server)
        self.initialized = True
        self.watched = False
        self.busy = False


def _send_all(conn: _Connection, rest: bytes, seconds: float, keep: bool) -> bool:
    conn.sock.settimeout(seconds)
    conn.sock.sendall(rest)
    return keep


def _nothing() -> None:
    """Wake the main thread."""
