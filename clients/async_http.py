"""The HTTP client for event loops: the same calls, awaited."""

from collections.abc import Mapping
from typing import TypeVar

import aiohttp
from tenacity import AsyncRetrying
from yarl import URL

from clients.answer import Answer
from clients.arguments import Endpoint, fixed_headers
from clients.async_steps import run_async
from clients.connection import AsyncConnection
from clients.deadline import DEFAULT_TIMEOUT_S, Deadline
from clients.described import ModelInfo, ModelMetadata
from clients.examples import Inputs
from clients.gateway_api import GatewayApi, Steps
from clients.gateway_messages import TIMEOUT_HEADER, Request, Response, require_ok
from clients.retry import DEFAULT_RETRY, NEVER_AGAIN, RetryPolicy
from clients.tls import Tls
from clients.trying import trying

# Connections at a time; requests beyond wait for one.
_CONNECTIONS = 100

Result = TypeVar("Result")


class AsyncHttpClient(AsyncConnection):
    """Calls a gateway over kept-alive connections; for one event loop, a context manager."""

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
        self._tls = self._endpoint.tls.context() if self._endpoint.tls else True
        self._headers = fixed_headers(api_key, headers)
        self._retry = retry
        self._api = GatewayApi()
        # Made in the event loop that it belongs to.
        self._session: aiohttp.ClientSession | None = None

    async def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        top: int = 3,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Predict one or several inputs; see `HttpClient.predict`."""
        return await self._run(self._api.predict(model, inputs, version, label, top), timeout)

    async def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """The models that the gateway serves."""
        return await self._run(self._api.models(), timeout)

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """The signatures and the contract of a version."""
        return await self._run(self._api.metadata(model, version, label), timeout)

    async def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Whether every model answers; False also where the gateway cannot be reached."""
        return await self._run(self._api.ready(), timeout)

    async def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _run(self, steps: Steps[Result], timeout: float) -> Result:
        deadline = Deadline(timeout)

        async def ask(request: Request) -> Response:
            policy = NEVER_AGAIN if request.once else self._retry
            return await AsyncRetrying(**trying(policy, deadline))(
                self._ask_once, request, deadline
            )

        return await run_async(steps, ask)

    async def _ask_once(self, request: Request, deadline: Deadline) -> Response:
        self._require_open()
        left = deadline.left()
        place = self._endpoint.url + request.path
        try:
            async with self._connected().request(
                request.method,
                URL(place, encoded=True),
                data=request.body or None,
                headers={**self._headers, **request.headers, TIMEOUT_HEADER: f"{left:.3f}"},
                timeout=aiohttp.ClientTimeout(total=left),
                proxy=self._endpoint.proxy,
                ssl=self._tls,
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
        except TimeoutError as error:
            raise deadline.exceeded(f"there was no answer from {self._endpoint.url}") from error
        except aiohttp.ClientError as error:
            raise self._endpoint.unreachable(error) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return require_ok(Response(answer.status, headers, body), place.partition("?")[0])

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session
