"""The HTTP server of the REST API: uvicorn in a thread, and a pool of threads for the requests.

The event loop only reads and writes, since a model blocks the thread that runs it.
"""

import asyncio
import contextlib
import http
import logging
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import uvicorn

# The class that uvicorn.Config takes as `http`; a subclass adds limits that no setting has.
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: TID251

from rockstar_serving.listening import connection_limit
from rockstar_serving.model_server.deadline import DeadlinePassedError
from rockstar_serving.model_server.options import RestOptions
from rockstar_serving.model_server.rest import BodyTooLargeError, RestApi, RestRequest, RestResponse
from tfs_api.json_response import error_json
from tfs_api.status import HTTP_STATUS, Code

# Seconds after which a connection is closed if it is idle or its headers do not progress, and in
# which a body must arrive.
_STALLED_SECONDS = 120
_SWEEP_SECONDS = 10
# At a stop, kept-alive connections are closed when no request has arrived for this time.
_QUIET_SECONDS = 0.1
_POLL_SECONDS = 0.02
# How long to wait after a connection could not be accepted, usually for lack of open files.
_PAUSE_SECONDS = 1.0
# How long the rest of a rejected request is read and dropped. A client that is still sending would
# not see the response if the connection were closed at once.
_DISCARD_SECONDS = 30
_MAX_HEADER_BYTES = 256 * 2**10
# Smaller bodies need no memory to speak of.
_SMALL_BODY_BYTES = 256 * 2**10
# How long a larger body waits for memory before it is read.
_MEMORY_SECONDS = 30
# The most that gzip compresses: https://www.zlib.net/zlib_tech.html.
_GZIP_RATIO = 1032
_MAX_CONNECTIONS = 1000

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Connection(HttpToolsProtocol):
    """A connection of uvicorn, with limits that uvicorn lacks, and with errors as JSON.

    Attributes:
        lost: whether the client is gone.
        handling: whether the application is reading or handling a request.
    """

    lost = handling = False
    _refused = False
    _header_bytes = _unsent_bytes = 0
    _active_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is being received or handled, or its response being sent."""
        return self.handling or self._header_bytes > 0 or self.transport.get_write_buffer_size() > 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection."""
        super().connection_made(transport)
        self._active_at = time.monotonic()
        self._app().connections[transport.get_extra_info("peername")[:2]] = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.lost = True
        self._app().connections.pop(self.transport.get_extra_info("peername")[:2], None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, unless the header is too long."""
        if self._refused:
            return
        if self.handling or not self._header_bytes:
            self._active_at = time.monotonic()
        if not self.handling:
            if self._header_bytes > _MAX_HEADER_BYTES:
                limit = f"exceeds {_MAX_HEADER_BYTES} bytes"
                self._refuse(431, f"Request Header Fields Too Large: {limit}")
                return
            self._header_bytes += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Reject invalid HTTP; called by uvicorn."""
        self._refuse(400, f"Bad Request: {sys.exception() or msg}")

    def begin(self) -> None:
        """Record that the application handles a request."""
        self.handling = True
        self._header_bytes = 0

    def end(self) -> None:
        """Record that the response is complete."""
        self.handling = False
        self._active_at = time.monotonic()

    def close_if_stalled(self, now: float) -> None:
        """Close the connection if the client neither sends headers nor reads responses."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent_bytes:
            self._unsent_bytes, self._active_at = unsent, now
        if not self.handling and now - self._active_at > _STALLED_SECONDS:
            self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        self._refused = True
        body = error_json(message)
        headers = [
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
            *(f"{name}: {value}" for name, value in self._app().api.headers),
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        self.transport.write("\r\n".join([*headers, "", ""]).encode() + body)
        self.transport.write_eof()
        self.loop.call_later(_DISCARD_SECONDS, self.transport.abort)

    def _app(self) -> "RestApp":
        return cast("RestApp", self.config.app)


class _RejectedError(Exception):
    """A request that is rejected before its body is complete."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BodyMemory:
    """Limits the memory for larger bodies: together they are as large as the largest may be."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._taken = 0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[None]:
        """Wait for memory for a body, and hold it; raises _RejectedError."""
        if size <= _SMALL_BODY_BYTES:
            yield
            return
        size = min(size, self._max_bytes)
        try:
            async with asyncio.timeout(_MEMORY_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self._taken + size <= self._max_bytes)
                self._taken += size
        except TimeoutError:
            text = f"no memory for the body within {_MEMORY_SECONDS} s: send it again later"
            raise _RejectedError(HTTP_STATUS[Code.RESOURCE_EXHAUSTED], text) from None
        try:
            yield
        finally:
            self._taken -= size
            async with self._changed:
                self._changed.notify_all()


class RestApp:
    """The REST API as an ASGI application.

    Attributes:
        api: runs the requests.
        connections: by address of the client.
        max_connections: further ones wait.
        stopping: whether responses end their connections.
    """

    def __init__(self, api: RestApi, options: RestOptions) -> None:
        self.api = api
        self.stopping = False
        self._max_body_bytes = options.max_body_bytes
        self._memory = BodyMemory(options.max_body_bytes)
        self._timeout_seconds = options.timeout_seconds
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="rest")
        # Requests that timed out and whose models may still run.
        self._late: list[Future[RestResponse]] = []
        self.connections: dict[tuple[str, int], Connection] = {}
        self.max_connections = connection_limit(_MAX_CONNECTIONS)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Handle one request; called by uvicorn."""
        connection = self.connections.get(scope["client"])
        if connection is None:  # the client is gone already
            return
        connection.begin()
        try:
            await self._handle(scope, receive, send, connection)
        except asyncio.CancelledError:
            if not self.stopping:
                raise
        finally:
            connection.end()

    async def _handle(
        self, scope: dict[str, Any], receive: Receive, send: Send, connection: Connection
    ) -> None:
        headers = dict(scope["headers"])
        length = int(headers.get(b"content-length", b"0"))
        is_chunked = b"transfer-encoding" in headers
        most = self._max_body_bytes if is_chunked else length
        if b"gzip" in headers.get(b"content-encoding", b""):
            most *= _GZIP_RATIO
        try:
            self._require_size(length)
            async with self._memory.reserve(most):
                body = await self._read(receive) if is_chunked or length else b""
                if connection.lost:
                    return
                query = scope["query_string"]
                uri = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
                request = RestRequest(
                    scope["method"],
                    uri.decode("latin-1"),
                    body,
                    headers.get(b"content-encoding", b"").decode("latin-1"),
                    headers.get(b"origin", b"").decode("latin-1"),
                    gone=lambda: connection.lost,
                )
                response, late = await self._run(request)
                await _send(send, response, close=late or self.stopping)
        except _RejectedError as error:
            response = RestResponse(error.status, self.api.headers, error_json(error.message))
            await _send(send, response, close=True, more_body=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DISCARD_SECONDS):
                    while b"expect" not in headers and (await receive()).get("more_body"):
                        pass
            await send({"type": "http.response.body"})

    def _require_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise _RejectedError(413, BodyTooLargeError(self._max_body_bytes).message)

    async def _read(self, receive: Receive) -> bytes:
        """The body, or what arrived of it until the client was lost."""
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(_STALLED_SECONDS):
                while more:
                    message = await receive()
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    more = message.get("more_body", False)
                    self._require_size(size)
        except TimeoutError:
            text = f"the body did not arrive within {_STALLED_SECONDS} s: send less at once"
            raise _RejectedError(408, text) from None
        return b"".join(chunks)

    async def _run(self, request: RestRequest) -> tuple[RestResponse, bool]:
        """The response to a request, and whether the request timed out."""
        job = self._pool.submit(self.api.respond, request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.wrap_future(job), False
        if job.cancelled():
            error = DeadlinePassedError().message
        else:
            # A model cannot be interrupted: it keeps its thread, and its result is dropped.
            self._late = [job, *(each for each in self._late if not each.done())]
            error = (
                f"the model was still running after {(self._timeout_seconds or 0) * 1000:.0f} ms "
                "(--rest_api_timeout_in_ms)"
            )
        status = HTTP_STATUS[Code.DEADLINE_EXCEEDED]
        return RestResponse(status, self.api.headers, error_json(error)), True

    async def sweep(self) -> None:
        """Close stalled connections, forever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for connection in list(self.connections.values()):
                connection.close_if_stalled(now)

    async def drain(self, deadline: float) -> bool:
        """Wait until no request has arrived for a while, or the deadline; then close connections.

        Returns:
            Whether all requests have ended, and no model still runs for one that timed out.
        """
        quiet_since = time.monotonic()
        finished = False
        while not finished and (now := time.monotonic()) < deadline:
            if any(connection.busy for connection in self.connections.values()):
                quiet_since = now
            finished = now - quiet_since > _QUIET_SECONDS
            await asyncio.sleep(_POLL_SECONDS)
        for connection in list(self.connections.values()):
            connection.transport.abort()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return finished and all(job.done() for job in self._late)


async def _send(
    send: Send, response: RestResponse, *, close: bool = False, more_body: bool = False
) -> None:
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    headers.append((b"content-length", b"%d" % len(response.body)))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": more_body})


class RestServer:
    """Serves the REST API on a bound socket, in its own threads."""

    def __init__(self, api: RestApi, listener: socket.socket, options: RestOptions) -> None:
        self.port: int = listener.getsockname()[1]
        listener.setblocking(False)
        self._listener = listener
        self._app = RestApp(api, options)
        self._config = uvicorn.Config(
            self._app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("Server", "RockstarTF")],
            timeout_keep_alive=_STALLED_SECONDS,
        )
        self._server = uvicorn.Server(self._config)
        self._connecting: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._serve, name="rest", daemon=True)

    def start(self) -> None:
        """Start to respond."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def stop(self, grace: float) -> bool:
        """Accept no more connections, let requests finish for `grace` seconds, and close.

        Returns:
            Whether all requests finished, and no model still runs for one that timed out.
        """
        deadline = time.monotonic() + grace
        finished = asyncio.run_coroutine_threadsafe(self._stop(deadline), self._loop).result()
        self._thread.join()
        return finished

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        sweeper = asyncio.create_task(self._app.sweep())
        self._listen()
        await self._server.serve(sockets=[])
        sweeper.cancel()

    # Instead of uvicorn, which resets connections that wait to be accepted when it stops.
    def _listen(self) -> None:
        if not self._app.stopping:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        if len(self._app.connections) + len(self._connecting) < self._app.max_connections:
            try:
                self._connect(self._listener.accept()[0])
                return
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("cannot accept a REST connection: %s", error)
                pause = _PAUSE_SECONDS
        else:
            pause = _POLL_SECONDS
        self._loop.remove_reader(self._listener)
        self._loop.call_later(pause, self._listen)

    def _connect(self, client: socket.socket) -> None:
        client.setblocking(False)
        state = self._server.server_state
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(
                lambda: Connection(self._config, state, app_state={}), client
            )
        )
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _stop(self, deadline: float) -> bool:
        self._app.stopping = True
        self._loop.remove_reader(self._listener)
        try:
            while True:
                self._connect(self._listener.accept()[0])
        except OSError:  # no more
            self._listener.close()
        await asyncio.gather(*self._connecting)
        finished = await self._app.drain(deadline)
        self._server.should_exit = self._server.force_exit = True
        return finished
