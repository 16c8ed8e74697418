"""The HTTP client: sends examples to the gateway, and returns labels or numbers."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from tenacity import Retrying

from rockstar_client import gateway_api
from rockstar_client.calls import (
    DEFAULT_RETRY,
    DEFAULT_TIMEOUT_S,
    NEVER_AGAIN,
    Deadline,
    RetryPolicy,
    retry_arguments,
    run,
)
from rockstar_client.client import Client, Result, Steps
from rockstar_client.endpoint import SOCKS, Endpoint, Tls, fixed_headers, no_socks
from rockstar_client.examples import ExampleLike
from rockstar_client.gateway_api import TIMEOUT_HEADER, Request, Response, require_ok
from rockstar_client.results import Explanation, RowExplanation

# Idle connections that are kept for later requests.
_MAX_IDLE = 100
_CHUNK_BYTES = 2**16


class HttpClient(Client):
    """Calls a gateway over kept-alive connections; thread-safe, and a context manager.

    A process that is forked, or that unpickles a client, creates connections of its own.
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
        session: requests.Session | None = None,
    ) -> None:
        """Connect when first used.

        Args:
            url: of the gateway.
            api_key: sent as a bearer token.
            headers: for every request.
            tls: the certificates to trust and to send; None trusts the usual authorities.
            retry: when a failed call is made again.
            session: your own session with adapters, proxies, authentication, certificates or
                hooks; close() leaves it open. None creates one.

        Raises:
            InvalidInputError: an argument is invalid, or a file cannot be read.
        """
        self._endpoint = Endpoint.of(url, tls)
        self._headers = fixed_headers(api_key, headers)
        self._retry = retry
        # Given with each request: REQUESTS_CA_BUNDLE would override the session's.
        self._tls: dict[str, Any] = {}
        if tls is not None:
            tls.context()  # a file that cannot be read fails here, not in the first call
            self._tls["verify"] = str(tls.ca) if tls.ca else True
            if tls.certificate is not None:
                certificate, key = str(tls.certificate), tls.key
                self._tls["cert"] = (certificate, str(key)) if key else certificate
        # A password in ~/.netrc would replace the API key of a session that reads it.
        self._auth = _GivenHeaders() if api_key else None
        self._owns_session = session is None
        self._session = _session(self._endpoint) if session is None else session
        self._process = os.getpid()

    def explain(
        self,
        model: str,
        example: ExampleLike,
        *,
        version: int | None = None,
        of: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Explanation | RowExplanation:
        """Explain the prediction of one example.

        Args:
            model: name; of a classifier of images, or a model of rows.
            example: an image (path, bytes of a file, PIL image) or a row (dict, or the path of a
                CSV file with one).
            version: None is the newest.
            of: the label to explain; None is the most likely one.
            timeout: seconds for everything together.

        Returns:
            By how much each pixel, or each column, raises the score or the value.

        Raises:
            CallError: the call failed; an InvalidRequestError if the example cannot be used.
        """
        steps = gateway_api.explain(model, example, version, of)
        return self._run(lambda _: steps, timeout)

    def call(self, steps: Steps[Result], *, timeout: float = DEFAULT_TIMEOUT_S) -> Result:
        """Make a call that has no method here, such as `gateway_api.explanation_picture`."""
        return self._run(lambda _: steps, timeout)

    def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        deadline = Deadline(timeout)

        def send(request: Request) -> Response:
            policy = NEVER_AGAIN if request.once else self._retry
            return Retrying(**retry_arguments(policy, deadline))(self._send, request, deadline)

        return run(start(deadline), send)

    def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        self._closed = True
        if self._owns_session:
            self._session.close()

    def _send(self, request: Request, deadline: Deadline) -> Response:
        self._require_open()
        if self._process != os.getpid():
            # Over an inherited connection, processes would read each other's responses.
            self._session.close()
            self._process = os.getpid()
        left = deadline.left()
        try:
            with self._session.request(
                request.method,
                self._endpoint.url + request.path,
                data=request.body or None,
                headers={**self._headers, **request.headers, TIMEOUT_HEADER: f"{left:.3f}"},
                auth=self._auth,
                timeout=left,
                allow_redirects=False,
                stream=True,
                **self._tls,
            ) as response:
                chunks = []
                # Each read may take the whole timeout, so the deadline is checked between reads.
                while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                    chunks.append(chunk)
                    deadline.left()
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise deadline.exceeded(f"there was no answer from {self._endpoint.url}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._endpoint.unreachable(error) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return require_ok(
            Response(response.status_code, headers, b"".join(chunks)),
            lambda: self._endpoint.place(request.path),
        )


class _GivenHeaders(AuthBase):
    """Authenticates by the headers alone."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _session(endpoint: Endpoint) -> requests.Session:
    if endpoint.proxy and endpoint.proxy.scheme in SOCKS and not importlib.util.find_spec("socks"):
        raise no_socks(endpoint.proxy, "PySocks")
    session = requests.Session()
    # Read once: requests would read all variables in every call.
    environment = session.merge_environment_settings(endpoint.url, {}, None, None, None)
    session.proxies, session.verify = environment["proxies"], environment["verify"]
    session.trust_env = False
    adapter = HTTPAdapter(pool_maxsize=_MAX_IDLE)
    adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _Connection(urllib3.connection.HTTPConnection):
    """Sends headers and a small body at once: a server that gets two packets wakes up twice."""

    _held: bytes | None = None

    def request(self, method: str, url: str, body: Any = None, *rest: Any, **more: Any) -> None:
        if isinstance(body, bytes) and len(body) <= _CHUNK_BYTES:
            self._held = b""
        try:
            super().request(method, url, body, *rest, **more)
            held = self._held
        finally:
            self._held = None
        if held:
            self.send(held)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held += data


class _TlsConnection(_Connection, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
