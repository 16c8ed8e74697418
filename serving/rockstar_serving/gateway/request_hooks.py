"""Hooks before and after each request: its context, path, admission, API key, and headers.

Admission is decided before the body is read. A request that is rejected gets an error in the format
of its API.
"""

import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from flask import Flask, Request, Response, request
from werkzeug.routing import MapAdapter

from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.api import Api, api_of
from rockstar_serving.gateway.authentication import (
    cors_headers,
    presented_key,
    require_key,
    trusted_addresses,
)
from rockstar_serving.gateway.context import (
    TIMEOUT_HEADER,
    RequestContext,
    context,
    request_id,
    request_timeout,
    reset_context,
    set_context,
)
from rockstar_serving.gateway.errors import rejection
from rockstar_serving.gateway.receiving import received
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.gateway.state import Gateway, reset_gateway, set_gateway
from tfs_api.model_ref import path_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_ID_HEADER = "X-Request-ID"
_TIMEOUT = TIMEOUT_HEADER.lower()
# gunicorn discards the rest of a shorter body by itself.
_DISCARDED = 64 * 1024
# One segment of a path prefix: nothing that could mislead a redirect or a page.
_SEGMENT = re.compile(r"[A-Za-z0-9._~%@+-]+")
# A slash within a segment, and the WSGI variable that is set if the path has one.
_SLASH = re.compile("%2f", re.IGNORECASE)
_HAS_SLASHES = "rockstar.slashes"


# Two headers that a WSGI environment names differently.
_SPECIAL_VARIABLES = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


@lru_cache(maxsize=256)  # clients choose the names of their headers
def variable(header: str) -> str:
    """The variable of a WSGI environment that holds a header, named in lower case."""
    return _SPECIAL_VARIABLES.get(header, f"HTTP_{header.upper().replace('-', '_')}")


def new_context(
    config: GatewayConfig, api: str, header: Callable[[str], str | None], method: str
) -> RequestContext:
    """The context of a request that has just arrived; `api` is empty if it is not known yet."""
    current = RequestContext(
        request_id(header("x-request-id")),
        api,
        config.request_timeout,
        time.monotonic(),
        method,
        header=header,
    )
    if (timeout := header(_TIMEOUT)) is not None:
        try:
            current.timeout = request_timeout(timeout, config.max_request_timeout)
        except InvalidInputError as error:
            current.error = error
    return current


def invalid_host(got: str) -> InvalidInputError:
    """The error for a request without a Host header, or with several (RFC 9112, section 3.2)."""
    return InvalidInputError("Host", expected="one header with the host", got=got[:80] or "none")


def response_headers(
    current: RequestContext, api: Api, config: GatewayConfig, methods: Iterable[str] = ()
) -> dict[str, str]:
    """The headers of every response; `methods` are those allowed at the path of the request."""
    headers = {"X-Content-Type-Options": "nosniff", _ID_HEADER: current.request_id, **api.headers}
    if config.cors_origins:
        headers |= cors_headers(current, config.cors_origins, methods)
    return headers


def unlimited_paths(app: Flask, apis: tuple[Api, ...]) -> set[str]:
    """Paths of probes, metrics and pages, which are served even when the gateway is full."""
    names = {api.blueprint.name for api in apis if api.unlimited}
    rules = app.url_map.iter_rules()
    return {rule.rule for rule in rules if rule.endpoint.partition(".")[0] in names}


class GatewayApp(Flask):
    """Flask without host names in routes."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Match the path of a request, whatever its host."""
        if request is None:
            return None
        return self.url_map.bind(
            "localhost",
            request.root_path,
            default_method=request.method,
            # Without a path, as in /ml, Werkzeug redirects to the one with a slash.
            path_info=request.path if request.environ.get("PATH_INFO") else "",
            query_args=request.query_string.decode("latin-1"),
        )


class RequestHooks:
    """Adds the hooks to an application; one instance for each worker process."""

    def __init__(
        self, app: Flask, here: Gateway, close_connection: Callable[[], None], apis: tuple[Api, ...]
    ) -> None:
        """Wrap `app.wsgi_app`, and register functions to run before and after each request.

        The routes are complete. `close_connection` makes the server close the connection after the
        response. The first API is the default for unknown paths.
        """
        config = here.config
        self._here, self._config = here, config
        self._observer = here.observer
        self._keys = here.keys or None
        self._apis = apis
        self._by_blueprint: dict[str | None, Api] = {api.blueprint.name: api for api in apis}
        self._by_name = {api.name: api for api in apis}
        self._trusted = trusted_addresses(config.trusted_proxies)
        self._close_connection = close_connection
        self._unlimited = unlimited_paths(app, apis)
        app.before_request(self._begin)
        app.after_request(self._complete)
        self._application = app.wsgi_app
        app.wsgi_app = self._handle  # type: ignore[method-assign]

    def _handle(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Create the context of a request, and limit concurrent requests (WSGI)."""

        def header(name: str) -> str | None:
            return environ.get(variable(name))

        method = environ["REQUEST_METHOD"]
        current = new_context(self._config, self._apis[0].name, header, method)
        if "HTTP_HOST" not in environ and environ["SERVER_PROTOCOL"] == "HTTP/1.1":
            current.error, current.unread = invalid_host(""), True
        tokens = set_gateway(self._here), set_context(current)
        try:
            self._adjust_path(environ)
            current.query = environ.get("QUERY_STRING", "")
            current.receive = partial(received, self._here, current)
            current.remote_address = environ.get("REMOTE_ADDR")
            if environ.get("PATH_INFO", "") in self._unlimited:
                return self._application(environ, start_response)
            admission = self._here.admission
            if method == "POST" and "gunicorn.socket" in environ:
                # It enters when its body has arrived.
                current.verdict = "full" if admission.is_full() else "receiving"
            else:
                current.verdict = admission.enter(current.timeout)
            try:
                return self._application(environ, start_response)
            finally:
                if current.verdict == "admitted":
                    admission.leave()
        finally:
            current.release()
            reset_gateway(tokens[0])
            reset_context(tokens[1])

    def _adjust_path(self, environ: dict[str, Any]) -> None:
        """Keep slashes in names of models, and remove the path prefix of a proxy."""
        if _SLASH.search(uri := environ.get("RAW_URI", "")):
            # Names of models may contain encoded slashes, which must not separate segments.
            path = _SLASH.sub("%252F", path_of(uri).partition("?")[0])
            environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
            environ[_HAS_SLASHES] = True
        header = environ.get(variable("x-forwarded-prefix"))
        if header is None or not self._trusted(environ.get("REMOTE_ADDR", "")):
            return
        # With several proxies, the outermost adds the first prefix. Some proxies remove it from
        # the path, and some do not.
        parts = [part for each in header.split(",") for part in each.strip().split("/") if part]
        if all(_SEGMENT.fullmatch(part) for part in parts):
            prefix = environ["SCRIPT_NAME"] = "".join(f"/{part}" for part in parts)
            if (path := environ["PATH_INFO"]) == prefix or path.startswith(f"{prefix}/"):
                environ["PATH_INFO"] = path[len(prefix) :]

    def _begin(self) -> None:
        """Complete the context of the request, and reject it if necessary."""
        environ, current = request.environ, context()
        if _HAS_SLASHES in environ and request.view_args and "model" in request.view_args:
            request.view_args["model"] = request.view_args["model"].replace("%2F", "/")
        current.path = request.path
        if request.url_rule is not None:
            current.route = request.url_rule.rule
        api = self._by_blueprint.get(request.blueprint) or api_of(request.path, self._apis)
        current.api = api.name
        if current.error is not None:
            raise current.error
        connection = environ.get("gunicorn.socket")
        if connection is not None:
            # A client that does not read its response must not block a thread forever.
            connection.settimeout(current.timeout)
            current.unread = (
                "HTTP_TRANSFER_ENCODING" in environ or (request.content_length or 0) > _DISCARDED
            )
        if current.verdict in ("full", "late"):
            raise rejection(current.verdict)
        # Browsers send no key with a preflight request, which asks what other sites' pages may do.
        asks = current.header("origin") and current.header("access-control-request-method")
        is_preflight = current.method == "OPTIONS" and asks and self._config.cors_origins
        if self._keys is None or is_preflight:
            return
        if api.open:
            current.caller = self._keys.owner(presented_key(current))
        else:
            model = (request.view_args or {}).get("model")
            require_key(self._keys, current, api, model, self._observer)

    def _complete(self, response: Response) -> Response:
        """Add headers to the response, and report it."""
        current = context()
        api = self._by_name[current.api]
        for name, value in response_headers(current, api, self._config, response.allow).items():
            if name == "Vary":
                response.vary.add(value)
            else:
                response.headers.setdefault(name, value)
        if response.status_code == HTTPStatus.PERMANENT_REDIRECT and response.location:
            # From /ml to /ml/. Without the host: a proxy may use another one than its client.
            response.location = urlunsplit(("", "", *urlsplit(response.location)[2:]))
        if current.unread:
            # The rest of the body would be taken for the next request.
            self._close_connection()
        self._observer.answered(current, response.status_code)
        return response
