"""A test client of the gateway on the event loop: RSGI without a server."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]
from werkzeug.test import Client

from rockstar_client.backend import Backend
from rockstar_serving.gateway.rsgi import RsgiGateway
from rockstar_serving.gateway.settings import Files, GatewayConfig, read_files

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_CHUNK = 64 * 1024


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class RsgiApp:
    """A gateway on an event loop, as a WSGI application; its members are as Flask's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: GatewayConfig,
        backend: Backend,
        files: Files | None = None,
        **options: Any,
    ) -> None:
        self._loop = loop
        self._gateway = RsgiGateway(
            config, files or read_files(config), lambda: False, backend=backend, **options
        )
        self._gateway.__rsgi_init__(loop)
        self.extensions = self._gateway.flask.extensions

    def close(self) -> None:
        self._gateway.__rsgi_del__(self._loop)

    def test_client(self) -> Client:
        return Client(self, Response)

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        protocol: Any = _Protocol(environ)
        scope: Any = _Scope(environ)
        handled = self._gateway.__rsgi__(scope, protocol)
        asyncio.run_coroutine_threadsafe(handled, self._loop).result(60)
        status, headers, body = protocol.response
        start_response(f"{status} {_phrase(status)}", headers)
        return [body]


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"


class _Headers:
    """The headers of a WSGI environment; names are in lower case."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._values = {
            name.removeprefix("HTTP_").lower().replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
        }

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def get_all(self, name: str) -> list[str]:
        return [self._values[name]] if name in self._values else []

    def keys(self) -> Iterable[str]:
        return self._values.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._values


class _Scope:
    """A request; the path is decoded."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.http_version = environ["SERVER_PROTOCOL"].removeprefix("HTTP/")
        self.server = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        self.client = f"{environ.get('REMOTE_ADDR', '127.0.0.1')}:50000"
        self.scheme = environ["wsgi.url_scheme"]
        self.method = environ["REQUEST_METHOD"]
        self.path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        self.query_string = environ["QUERY_STRING"]
        self.headers = _Headers(environ)


class _Protocol:
    """The body of a request, and the response."""

    response: tuple[int, list[tuple[str, str]], bytes]

    def __init__(self, environ: dict[str, Any]) -> None:
        self._stream: io.BytesIO = environ["wsgi.input"]
        length = environ.get("CONTENT_LENGTH")
        self._length = int(length) if length else None
        self._chunked = "HTTP_TRANSFER_ENCODING" in environ

    async def __call__(self) -> bytes:
        return b"".join([chunk async for chunk in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._length
        while (left is None and self._chunked) or left:
            chunk = self._stream.read(min(_CHUNK, left or _CHUNK))
            if not chunk:
                if left:  # the client has closed its connection
                    raise ProtocolClosed
                return
            if left is not None:
                left -= len(chunk)
            yield chunk

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.response = status, headers, body
