"""The HTTP client for event loops."""

import importlib
from collections.abc import Callable, Mapping
from operator import methodcaller
from types import ModuleType
from typing import Any

import aiohttp
from tenacity import AsyncRetrying
from urllib3.util import Url
from yarl import URL

from rockstar_client import gateway_api
from rockstar_client.calls import (
    DEFAULT_RETRY,
    DEFAULT_TIMEOUT_S,
    NEVER_AGAIN,
    Deadline,
    RetryPolicy,
    retry_arguments,
    run_async,
)
from rockstar_client.client import AsyncClient, Result, Steps
from rockstar_client.connection import PerLoop
from rockstar_client.endpoint import SOCKS, Endpoint, Tls, fixed_headers, no_socks
from rockstar_client.examples import ExampleLike
from rockstar_client.gateway_api import TIMEOUT_HEADER, Request, Response, require_ok
from rockstar_client.results import Explanation, RowExplanation

# Connections at a time; further requests wait for one.
_MAX_CONNECTIONS = 100


class AsyncHttpClient(AsyncClient):
    """Calls a gateway over kept-alive connections; a context manager.

    It works in several event loops, each with connections of its own.
    """

    _api = gateway_api

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """Connect when first used; the arguments are those of `HttpClient`."""
        self._endpoint = Endpoint.of(url, tls)
        self._headers = fixed_headers(api_key, headers)
        self._retry = retry
        self._session = PerLoop(self._connect, methodcaller("close"))
        self._failures: tuple[type[Exception], ...] = (aiohttp.ClientError,)
        tls, proxy = self._endpoint.tls, self._endpoint.proxy
        if tls is not None:
            tls.context()  # a file that cannot be read fails here, not in the first call
        if proxy is not None and proxy.scheme in SOCKS:
            socks = _aiohttp_socks(proxy)
            self._failures += socks.ProxyError, socks.ProxyConnectionError, socks.ProxyTimeoutError

    async def explain(
        self,
        model: str,
        example: ExampleLike,
        *,
        version: int | None = None,
        of: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Explanation | RowExplanation:
        """Explain the prediction of one example; see `HttpClient.explain`."""
        steps = gateway_api.explain(model, example, version, of)
        return await self._run(lambda _: steps, timeout)

    async def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        self._closed = True
        await self._session.close()

    async def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        deadline = Deadline(timeout)

        async def send(request: Request) -> Response:
            policy = NEVER_AGAIN if request.once else self._retry
            return await AsyncRetrying(**retry_arguments(policy, deadline))(
                self._send, request, deadline
            )

        return await run_async(start(deadline), send)

    async def _send(self, request: Request, deadline: Deadline) -> Response:
        self._require_open()
        left = deadline.left()
        session = await self._session.get()
        try:
            async with session.request(
                request.method,
                URL(self._endpoint.url + request.path, encoded=True),
                data=request.body or None,
                headers={**self._headers, **request.headers, TIMEOUT_HEADER: f"{left:.3f}"},
                timeout=aiohttp.ClientTimeout(total=left),
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
        except TimeoutError as error:
            raise deadline.exceeded(f"there was no answer from {self._endpoint.url}") from error
        except self._failures as error:
            raise self._endpoint.unreachable(error) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return require_ok(
            Response(answer.status, headers, body), lambda: self._endpoint.place(request.path)
        )

    def _connect(self) -> aiohttp.ClientSession:
        tls, proxy = self._endpoint.tls, self._endpoint.proxy
        settings: dict[str, Any] = {
            "limit": _MAX_CONNECTIONS,
            "ssl": tls.context() if tls else True,
        }
        cookies = aiohttp.DummyCookieJar()
        if proxy is None or proxy.scheme not in SOCKS:
            connector = aiohttp.TCPConnector(**settings)
            url = proxy.url if proxy else None
            return aiohttp.ClientSession(connector=connector, cookie_jar=cookies, proxy=url)
        # Schemes that end in h or a leave the resolution of host names to the proxy.
        names, port = proxy.scheme[-1] in "ha", proxy.port or 1080
        scheme = proxy.scheme.rstrip("ha")
        url = Url(scheme=scheme, auth=proxy.auth, host=proxy.host, port=port).url
        connector = _aiohttp_socks(proxy).ProxyConnector.from_url(url, rdns=names, **settings)
        return aiohttp.ClientSession(connector=connector, cookie_jar=cookies)


def _aiohttp_socks(proxy: Url) -> ModuleType:
    """Import the package for SOCKS proxies."""
    try:
        return importlib.import_module("aiohttp_socks")
    except ImportError as error:
        raise no_socks(proxy, "aiohttp-socks") from error
