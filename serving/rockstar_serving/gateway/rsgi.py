"""The gateway on an event loop, as an application of RSGI, Granian's interface.

Predictions run on the event loop, by the same functions as on Flask; models run in threads. All
other requests, and what takes long, go to threads. So no request blocks others.

Source: https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md
"""

import asyncio
import contextlib
import contextvars
import io
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Flask, Response
from granian.rsgi import (  # type: ignore[attr-defined]
    Headers,
    HTTPProtocol,
    ProtocolClosed,
    Scope,
)

from rockstar_client.backend import Backend
from rockstar_client.calls import run
from rockstar_client.predictor import Steps
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.images import SMALL_PIXELS
from rockstar_serving.gateway import health, open_inference, predict, tfserving
from rockstar_serving.gateway.api import Api, api_of, error_response
from rockstar_serving.gateway.app import APIS, create_app
from rockstar_serving.gateway.authentication import presented_key, require_key
from rockstar_serving.gateway.backends import AsyncBatching, BatchLimits
from rockstar_serving.gateway.call_threads import CallThreads
from rockstar_serving.gateway.context import RequestContext, context, set_context
from rockstar_serving.gateway.errors import HttpResponse, ProblemError, rejection
from rockstar_serving.gateway.observers import Observer
from rockstar_serving.gateway.receiving import (
    SMALL_CHUNK,
    hold_body,
    not_chunks,
    small_chunks,
    too_large,
    too_slow,
    truncated,
)
from rockstar_serving.gateway.request_hooks import (
    invalid_host,
    new_context,
    response_headers,
    unlimited_paths,
    variable,
)
from rockstar_serving.gateway.routing import Upstream
from rockstar_serving.gateway.settings import Files, GatewayConfig
from rockstar_serving.gateway.state import Gateway, set_gateway
from tfs_api.model_ref import route
from tfs_api.status import Code, StatusError

if TYPE_CHECKING:
    from rockstar_serving.gateway.in_process import LiteRTLoader

# What runs on the event loop: requests that take it for a few milliseconds at most. Larger ones run
# in a thread, as do images that reserve memory, which may wait.
_SMALL_BODY = 16 * 1024
_SMALL_UNPACKED = 8 * _SMALL_BODY
_FEW_INSTANCES = 64
# Small requests in flight; they take little memory and no thread.
_MOST_SMALL = 1024
# Bytes of a body that are received before others run; each chunk takes as long as so many bytes.
_TURN, _CHUNK_COST = 64 * 1024, 4 * 1024
# Small chunks that a body may have: each takes as long as a large one.
_SMALL_CHUNKS = 4096
# How long the rest of a rejected body is received.
_DISCARD_S = 2.0
# Threads beyond those of admitted requests, which reject more.
_MORE_THREADS = 8
# Threads for probes, metrics and pages. More would take turns with the event loop more often.
_PAGE_THREADS = 4
# Calls of models at a time.
_MODEL_THREADS = 32

_PREDICT = re.compile(r"/predict/([^/]+)")
_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
# The path prefix of a proxy; the second is nginx's way to set it.
_PREFIX, _SCRIPT_NAME = "x-forwarded-prefix", "script_name"
# The characters of a path that are not encoded (RFC 3986); names of models encode more.
_UNRESERVED = "/:@!$&'()*+,;="

# Starts the steps of a prediction; with the API, the route and the model of the request, and who
# makes its calls.
Endpoint = tuple[Api, str, str, Callable[[], Steps[HttpResponse]], Upstream]


@dataclass(eq=False)
class RsgiGateway:
    """The application of one worker process; the server calls `__rsgi_init__` first.

    Attributes:
        config: settings.
        files: contents of the files that they name.
        stopping: whether the gateway is about to stop.
        on_ready: called once the worker listens.
        is_retiring: whether clients should connect again, to another worker.
        backend, observers, apis, load: see create_app.
        flask: handles all requests but predictions.
        loop: the event loop.
    """

    config: GatewayConfig
    files: Files
    stopping: Callable[[], bool]
    on_ready: Callable[[], None] = lambda: None
    is_retiring: Callable[[], bool] = lambda: False
    backend: Backend | None = None
    observers: Sequence[Observer] = ()
    apis: tuple[Api, ...] = APIS
    load: "LiteRTLoader | None" = None

    def __post_init__(self) -> None:
        # In flight, and how many of them the metric has.
        self._small_requests = self._reported = 0
        most = self.config.threads + self.config.queue + _MORE_THREADS
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="request")
        self._page_threads = ThreadPoolExecutor(_PAGE_THREADS, thread_name_prefix="page")

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Load the models and create the application."""
        self.loop = loop
        self._turns = asyncio.Lock()
        self._calls = CallThreads(loop, _MODEL_THREADS)

        def batching(backend: Backend, limits: BatchLimits, observer: Observer) -> Backend:
            return AsyncBatching(backend, limits, observer, loop, self._calls)

        self.flask: Flask = create_app(
            self.config,
            self.backend,
            self.observers,
            self.apis,
            files=self.files,
            stopping=self.stopping,
            batching=batching,
            load=self.load,
        )
        self._gateway: Gateway = self.flask.extensions["gateway"]
        small = replace(
            self.config,
            max_body_bytes=min(_SMALL_UNPACKED, self.config.max_body_bytes),
            max_pixels=min(SMALL_PIXELS, self.config.max_pixels),
            max_instances=min(_FEW_INSTANCES, self.config.max_instances),
        )
        self._on_loop = replace(self._gateway, config=small, is_event_loop=True)
        self._signatures = tfserving.SignatureCache()
        self._keys = self._gateway.keys or None
        self._pages = unlimited_paths(self.flask, self.apis)
        # The loop starts to run once the server listens.
        loop.call_soon(self.on_ready)

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        """End the threads; the server calls it when the worker stops."""
        self._calls.close()
        self._threads.shutdown(wait=False)
        self._page_threads.shutdown(wait=False)

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Handle one request."""
        endpoint = self._endpoint(scope) if scope.method == "POST" else None
        try:
            if endpoint is None:
                await self._handle_in_thread(scope, protocol)
            else:
                await self._predict(scope, protocol, endpoint)
        finally:
            context().release()

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        """The prediction that a path names; None for other requests."""
        path, headers, here = scope.path, scope.headers, self._gateway
        if _PREFIX in headers or _SCRIPT_NAME in headers:
            return None
        if found := _PREDICT.fullmatch(path):
            model = found[1]
            steps = partial(predict.predict, model)
            return predict.API, predict.ROUTE, model, steps, here.predictor
        if found := _INFER.fullmatch(path):
            model, version = found.groups()
            steps = partial(open_inference.infer, model, version)
            rule = open_inference.INFER_VERSION if version else open_inference.INFER
            return open_inference.API, rule, model, steps, here.backend
        if path.startswith("/v1/models/") and path.count("/") <= 5:
            sent = quote(path, safe="/:") + (f"?{scope.query_string}" if scope.query_string else "")
            try:
                target = route("POST", sent)
            except StatusError:
                return None
            steps = partial(tfserving.handle, target, self._signatures)
            rule = tfserving.rule(target)
            return tfserving.API, rule, target.ref.name, steps, here.backend
        return None

    async def _predict(self, scope: Scope, protocol: HTTPProtocol, endpoint: Endpoint) -> None:
        api, rule, model, start, upstream = endpoint
        config, headers = self.config, scope.headers
        header = headers.get if self._keys is None else partial(_header, headers)
        current = new_context(config, api.name, header, "POST")
        current.path, current.query, current.route = scope.path, scope.query_string, rule
        current.remote_address = scope.client.rpartition(":")[0]
        set_gateway(self._on_loop)
        set_context(current)
        length = _length(headers.get("content-length"))
        current.unread = bool(length) or "transfer-encoding" in headers
        small = length is not None and length <= _SMALL_BODY
        try:
            _require_valid(scope, headers, current)
            try:
                if current.error is not None:
                    raise current.error
                if small and self._small_requests >= _MOST_SMALL:
                    raise rejection("full")
                if self._keys is not None:
                    require_key(self._keys, current, api, model, self._gateway.observer)
            except Exception:
                await _discard(self._chunks(protocol), current)
                raise
            body = await self._receive(protocol, length, current)
            current.receive = partial(iter, (body,))
            if small:
                response = await self._run_on_loop(current, start, upstream)
            else:
                response = await self._run_in_thread(current, start, upstream)
        except Exception as error:  # any failure gets a response
            response = error_response(error, api)
        self._respond(protocol, current, api, response)

    def _respond(
        self, protocol: HTTPProtocol, current: RequestContext, api: Api, response: HttpResponse
    ) -> None:
        sent = [("content-type", response.content_type), *response.headers.items()]
        sent += response_headers(current, api, self.config).items()
        if self.is_retiring() or current.unread:
            sent.append(("connection", "close"))
        protocol.response_bytes(response.status, sent, response.body)
        self._gateway.observer.answered(current, response.status)

    async def _receive(
        self, protocol: HTTPProtocol, length: int | None, current: RequestContext
    ) -> bytes:
        """Receive a body; the time that it takes does not count toward the deadline.

        Raises:
            InvalidInputError: it ends too early, or a chunk is malformed.
            ProblemError: it takes too long, or there is no room for it.
            TooLargeError: larger than config.max_body_bytes.
        """
        most = self.config.max_body_bytes
        arriving = self._chunks(protocol)
        if length is not None and length > most:
            await _discard(arriving, current)
            raise too_large(most, f"{length:,} bytes")
        began = time.monotonic()
        received = count = ends = 0
        body = io.BytesIO()  # a list of chunks of one byte would take forty times as much
        try:
            async with asyncio.timeout(self.config.upload_timeout):
                if length is not None and length <= _SMALL_BODY:
                    whole = await protocol()
                    current.unread = False
                    return whole
                async for chunk in arriving:
                    # The server's iterator ends with an empty chunk, and adds one for an error.
                    ends += not chunk
                    count += 1
                    body.write(chunk)
                    received += len(chunk)
                    if count > _SMALL_CHUNKS and received < count * SMALL_CHUNK:
                        raise small_chunks()
                    if received > most:
                        raise too_large(most, "more")
                    hold_body(received, len(chunk))
        except (ProblemError, TooLargeError):
            await _discard(arriving, current)
            raise
        except TimeoutError:
            raise too_slow(self.config.upload_timeout) from None
        except ProtocolClosed:  # the client has closed its side, or a chunk is malformed
            pass
        else:
            if received == length or (length is None and ends < 2):
                current.unread = False
                return body.getvalue()
        finally:
            current.uploading = time.monotonic() - began
        raise not_chunks() if length is None else truncated(length)

    async def _chunks(self, protocol: HTTPProtocol) -> AsyncIterator[bytes]:
        """The chunks of a body; unlike the server's iterator, it can be continued.

        Chunks that have arrived already do not suspend the coroutine. So bodies take turns, a piece
        of one in each iteration of the event loop, however many arrive.
        """
        cost = 0
        async for chunk in protocol:
            yield chunk
            cost += len(chunk) + _CHUNK_COST
            if cost > _TURN:
                cost = 0
                async with self._turns:
                    await asyncio.sleep(0)

    async def _run_on_loop(
        self, current: RequestContext, start: Callable[[], Steps[HttpResponse]], upstream: Upstream
    ) -> HttpResponse:
        self._count_small(1)
        try:
            return await self._advance(current, start(), upstream.backend)
        except TooLargeError:  # for the event loop
            return await self._run_in_thread(current, start, upstream)
        finally:
            self._count_small(-1)

    def _count_small(self, more: int) -> None:
        """Count small requests; the metric changes once for several, as that takes longer."""
        if self._small_requests == self._reported:
            self.loop.call_soon(self._report_small)
        self._small_requests += more

    def _report_small(self) -> None:
        self._gateway.admission.in_flight.inc(self._small_requests - self._reported)
        self._reported = self._small_requests

    async def _advance(
        self, current: RequestContext, steps: Steps[HttpResponse], to: Backend
    ) -> HttpResponse:
        """Run steps, and await the calls between them."""
        try:
            call = next(steps)
            while True:
                try:
                    with current.phase("upstream"):
                        if isinstance(to, AsyncBatching) and call.method == "predict":
                            result: Any = await to.predict_async(call.query)
                        else:
                            made = partial(contextvars.copy_context().run, call, to)
                            result = await self._calls.run(made)
                except Exception as error:  # any failure is the generator's to handle
                    call = steps.throw(error)
                else:
                    call = steps.send(result)
        except StopIteration as end:
            response: HttpResponse = end.value
            return response

    async def _run_in_thread(
        self, current: RequestContext, start: Callable[[], Steps[HttpResponse]], upstream: Upstream
    ) -> HttpResponse:
        admission = self._gateway.admission

        def respond() -> HttpResponse:
            set_gateway(self._gateway)
            current.verdict = admission.enter(current.time_left())
            if current.verdict != "admitted":
                raise rejection(current.verdict)
            try:
                return run(start(), upstream.send)
            finally:
                admission.leave()

        call = partial(contextvars.copy_context().run, respond)
        return await self.loop.run_in_executor(self._threads, call)

    async def _handle_in_thread(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Handle a request with Flask."""
        headers, here = scope.headers, self._gateway
        environ = _environ(scope, (*here.served.names, *here.aliases))
        length = _length(headers.get("content-length"))
        current = new_context(self.config, "", partial(_header, headers), scope.method)
        current.path = scope.path
        current.unread = bool(length) or "transfer-encoding" in headers
        set_gateway(self._gateway)
        set_context(current)
        api = health.API if scope.path == health.LIVEZ else api_of(scope.path, self.apis)
        current.api = api.name
        body = b""
        try:
            _require_valid(scope, headers, current)
            if current.unread:
                if self._keys is None or self._keys.owner(presented_key(current)):
                    body = await self._receive(protocol, length, current)
                else:  # Flask rejects the request
                    await _discard(self._chunks(protocol), current)
                environ["CONTENT_LENGTH"] = str(len(body))
        except TooLargeError:  # an error of those that read the body
            environ["CONTENT_LENGTH"] = str(self.config.max_body_bytes + 1)
        except Exception as error:  # any failure gets a response
            self._respond(protocol, current, api, error_response(error, api))
            return
        if api is health.API and scope.method == "GET" and current.error is None:
            # Not behind requests that wait for a thread.
            current.route = health.LIVEZ
            self._respond(protocol, current, api, health.ALIVE)
            return
        environ["wsgi.input"] = io.BytesIO(body)

        def handle() -> tuple[int, list[tuple[str, str]], bytes]:
            with contextlib.closing(Response.from_app(self.flask, environ)) as response:
                sent = [
                    (name.lower(), value)
                    for name, value in response.headers.items()
                    if name.lower() != "content-length" or scope.method == "HEAD"
                ]
                return response.status_code, sent, response.get_data()

        threads = self._page_threads if scope.path in self._pages else self._threads
        status, sent, content = await self.loop.run_in_executor(threads, handle)
        # After a CONNECT comes no further request, whatever the response.
        if self.is_retiring() or current.unread or scope.method == "CONNECT":
            sent.append(("connection", "close"))
        protocol.response_bytes(status, sent, content)


async def _discard(chunks: AsyncIterator[bytes], current: RequestContext) -> None:
    """Receive the rest of a body for a moment; clients that send all of it first need that."""
    if current.header("expect") is not None:  # the client waits for the response
        return
    with contextlib.suppress(TimeoutError, ProtocolClosed):
        async with asyncio.timeout(_DISCARD_S):
            async for _ in chunks:
                pass
        current.unread = False


def _header(headers: Headers, name: str) -> str | None:
    """The value of a header; several are joined, as in WSGI, so that no key is overlooked."""
    return ",".join(_values(headers, name)) if name in headers else None


def _values(headers: Headers, name: str) -> list[str]:
    values: list[str] = headers.get_all(name)  # type: ignore[attr-defined]  # lacks in its stub
    return values


def _require_valid(scope: Scope, headers: Headers, current: RequestContext) -> None:
    """Reject what the server lets pass, but RFC 9110 and 9112 do not, and close the connection.

    Raises:
        InvalidInputError: the method is not in upper case, there is no Host header, or several.
        ProblemError: a coding of the body other than chunked.
    """
    hosts, codings = _values(headers, "host"), _values(headers, "transfer-encoding")
    error: Exception
    if len(hosts) > 1 or (not hosts and scope.http_version == "1.1"):
        error = invalid_host(", ".join(hosts))
    elif not scope.method.isupper():
        error = InvalidInputError("method", expected="upper case, as in GET", got=scope.method[:40])
    elif codings and [coding.lower() for coding in codings] != ["chunked"]:
        text = f"Transfer-Encoding: expected chunked, got {', '.join(codings)[:80]}"
        error = ProblemError(HTTPStatus.NOT_IMPLEMENTED, text, Code.UNIMPLEMENTED)
    else:
        return
    current.unread = True
    raise error


def _length(header: str | None) -> int | None:
    """The declared length of a body; the server has checked it."""
    return int(header) if header is not None else None


def _encoded(path: str, models: Iterable[str]) -> str:
    """The path as the client has probably sent it; the server has decoded it.

    Slashes and colons of known models were encoded: they do not separate segments.
    """
    for model in models:
        if ("/" in model or ":" in model) and f"/{model}" in path:
            before, _, rest = path.partition(f"/{model}")
            if not rest or rest[0] in "/:":
                name = quote(model, safe="")
                return f"{quote(before, _UNRESERVED)}/{name}{quote(rest, _UNRESERVED)}"
    return quote(path, _UNRESERVED)


def _environ(scope: Scope, models: Iterable[str]) -> dict[str, Any]:
    """The WSGI environment of a request without its body (PEP 3333); `models` are known names."""
    host, _, port = scope.server.rpartition(":")
    path, raw = scope.path, _encoded(scope.path, models)
    environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "RAW_URI": f"{raw}?{scope.query_string}" if scope.query_string else raw,
        "QUERY_STRING": scope.query_string,
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    names = scope.headers.keys()
    for name in names:
        # WSGI could not tell x_api_key from x-api-key, which a proxy may have removed.
        if "_" not in name:
            environ[variable(name)] = ",".join(_values(scope.headers, name))
    if _SCRIPT_NAME in scope.headers:
        environ.setdefault(variable(_PREFIX), scope.headers.get(_SCRIPT_NAME))
    return environ
