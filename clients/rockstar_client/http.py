"""The HTTP client: examples to the gateway, labels or numbers back."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import urllib3
from tenacity import Retrying

from rockstar_client.answer import Answer
from rockstar_client.arguments import Endpoint, fixed_headers
from rockstar_client.connection import Connection
from rockstar_client.deadline import DEFAULT_TIMEOUT_S, Deadline
from rockstar_client.described import ModelInfo, ModelMetadata
from rockstar_client.errors import CallError
from rockstar_client.examples import Inputs
from rockstar_client.gateway_api import GatewayApi, Steps
from rockstar_client.gateway_messages import TIMEOUT_HEADER, Request, Response, require_ok
from rockstar_client.proxy import SOCKS, credentials, no_socks
from rockstar_client.retry import DEFAULT_RETRY, NEVER_AGAIN, RetryPolicy
from rockstar_client.steps import run
from rockstar_client.tls import Tls
from rockstar_client.trying import trying

# Connections that are kept for the next request.
_KEPT = 100
_CHUNK_BYTES = 2**16

Result = TypeVar("Result")


class HttpClient(Connection):
    """Calls a gateway over kept-alive connections; thread-safe, and a context manager.

    A process that is forked, or that gets a client by pickle, makes connections of its own.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """Connect when first used.

        Args:
            url: of the gateway.
            api_key: where it asks for one.
            headers: what every request says besides.
            tls: whom to trust, and who we are; None trusts the usual authorities.
            retry: when a call that failed is made again.

        Raises:
            InvalidInputError: one of these makes no sense, or a file cannot be read.
        """
        self._endpoint = Endpoint.of(url, tls)
        self._headers = fixed_headers(api_key, headers)
        self._retry = retry
        self._api = GatewayApi()
        self._pool: urllib3.PoolManager | None = _pool(self._endpoint)
        self._process = os.getpid()

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        top: int = 3,
        strict: bool = False,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Predict one or several inputs.

        Args:
            model: name.
            inputs: pictures (paths, bytes of files, PIL images), rows (dicts, a DataFrame, or the
                path of a CSV file), or arrays that are the model's input, one or a batch; CSV files
                not together with others.
            version: None is the newest, or what the gateway's routes say.
            label: picks the version instead.
            top: how many labels to list for each.
            strict: of rows, whether missing values, unknown categories and other columns are
                errors; else they are imputed or ignored, which the answer's `adjusted` says.
            timeout: seconds for everything together.

        Raises:
            CallError: the call failed; an InvalidRequestError where an input cannot be used.
        """
        steps = self._api.predict(model, inputs, version, label, top, strict)
        return self._run(steps, timeout)

    def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> tuple[ModelInfo, ...]:
        """The models that the gateway serves."""
        return self._run(self._api.models(), timeout)

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> ModelMetadata:
        """The signatures and the contract of a version; see `predict` for how it is picked."""
        return self._run(self._api.metadata(model, version, label), timeout)

    def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Whether every model answers; False also where the gateway cannot be reached."""
        return self._run(self._api.ready(), timeout)

    def call(self, steps: Steps[Result], *, timeout: float = DEFAULT_TIMEOUT_S) -> Result:
        """Make a call that no method here makes, from the requests that it is made of."""
        return self._run(steps, timeout)

    def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        self._closed = True
        if self._pool is not None and self._process == os.getpid():
            self._pool.clear()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_pool": None}

    def _run(self, steps: Steps[Result], timeout: float) -> Result:
        deadline = Deadline(timeout)

        def ask(request: Request) -> Response:
            policy = NEVER_AGAIN if request.once else self._retry
            return Retrying(**trying(policy, deadline))(self._ask_once, request, deadline)

        return run(steps, ask)

    def _ask_once(self, request: Request, deadline: Deadline) -> Response:
        self._require_open()
        left = deadline.left()
        try:
            answer = self._connections().request(
                request.method,
                self._endpoint.url + request.path,
                body=request.body or None,
                headers={**self._headers, **request.headers, TIMEOUT_HEADER: f"{left:.3f}"},
                timeout=urllib3.Timeout(total=left),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            body = _body(answer, deadline)
        except urllib3.exceptions.HTTPError as error:
            raise self._failure(error, deadline) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        place = self._endpoint.place(request.path)
        return require_ok(Response(answer.status, headers, body), place)

    def _connections(self) -> urllib3.PoolManager:
        pool = self._pool
        if pool is None or self._process != os.getpid():
            # Over an inherited connection processes would read each other's answers.
            pool = self._pool = _pool(self._endpoint)
            self._process = os.getpid()
        return pool

    def _failure(self, error: urllib3.exceptions.HTTPError, deadline: Deadline) -> CallError:
        refused = isinstance(error, urllib3.exceptions.NewConnectionError)
        if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
            return deadline.exceeded(f"there was no answer from {self._endpoint.url}")
        return self._endpoint.unreachable(error)


def _pool(endpoint: Endpoint) -> urllib3.PoolManager:
    settings: dict[str, Any] = {"maxsize": _KEPT}
    if endpoint.tls is not None:
        settings["ssl_context"] = endpoint.tls.context()
    proxy = endpoint.proxy
    if proxy is None:
        return urllib3.PoolManager(**settings)
    user, password = credentials(proxy) or (None, None)
    if proxy.scheme in SOCKS:
        try:
            from urllib3.contrib.socks import SOCKSProxyManager
        except ImportError as error:
            raise no_socks(proxy, "PySocks") from error
        return SOCKSProxyManager(proxy.url, user, password, **settings)
    headers = None if user is None else urllib3.make_headers(proxy_basic_auth=f"{user}:{password}")
    return urllib3.ProxyManager(proxy.url, proxy_headers=headers, **settings)


def _body(answer: urllib3.BaseHTTPResponse, deadline: Deadline) -> bytes:
    """All of it; a connection of which more could come is not used again."""
    chunks = []
    try:
        while chunk := answer.read1(_CHUNK_BYTES):
            chunks.append(chunk)
            deadline.left()
    except BaseException:
        answer.close()
        raise
    answer.release_conn()
    return b"".join(chunks)
