"""What is done with every request, before its API gets it and after."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from flask import Flask, Response, request
from flask.globals import request_ctx

from rockstar_client.errors import DeadlineExceededError
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.admission import Admission, arrived, verdict
from rockstar_serving.gateway.api import Api, api_of
from rockstar_serving.gateway.browsers import ANY
from rockstar_serving.gateway.context import (
    TIMEOUT_HEADER,
    TRACE_HEADER,
    TRACE_STATE_HEADER,
    RequestContext,
    context,
    request_id,
    request_timeout,
    set_context,
    trace_context,
)
from rockstar_serving.gateway.errors import RETRY_AFTER, Problem, ProblemError
from rockstar_serving.gateway.observers import Observer
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.gateway.state import gateway
from tfs_api.rest_routes import path_of
from tfs_api.status import Code

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_ID_HEADER = "X-Request-ID"
_READ_ANYWAY = 64 * 1024
# One segment of a path prefix: nothing that a redirect or a page could be led astray with.
_PLAIN = re.compile(r"[A-Za-z0-9._~%@+-]+")


# A slash within a segment, and where a WSGI environment says that its path holds some.
_SLASH = re.compile("%2f", re.IGNORECASE)
_SLASHES = "rockstar.slashes"


def _key(header: str) -> str:
    """Where a header is in a WSGI environment, and found at once."""
    return f"HTTP_{header.upper().replace('-', '_')}"


_PREFIX = _key("X-Forwarded-Prefix")
_REQUEST_ID, _TIMEOUT = _key(_ID_HEADER), _key(TIMEOUT_HEADER)
_TRACE, _TRACE_STATE = _key(TRACE_HEADER), _key(TRACE_STATE_HEADER)


def init_app(
    app: Flask,
    config: GatewayConfig,
    apis: tuple[Api, ...],
    observer: Observer,
    close_connection: Callable[[], None],
) -> None:
    """Have every request of an application pass here; register its blueprints before."""
    app.url_value_preprocessor(_decode_slashes)
    app.before_request(lambda: _open_context(apis))
    app.before_request(_require_admission)
    app.after_request(lambda response: _close_context(response, close_connection))
    app.teardown_request(lambda _: set_context(None))
    open_names = {api.blueprint.name for api in apis if api.open}
    always = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] in open_names
    }
    admission = Admission(
        app.wsgi_app,
        at_once=config.threads,
        waiting=config.queue,
        patience=lambda environ: _patience(environ, config),
        always=always.__contains__,
        observer=observer,
    )
    trusted = trusted_addresses(config.trusted_proxies)

    def mounted(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        if _SLASH.search(environ.get("RAW_URI", "")):
            _keep_slashes(environ)
        prefix = environ.get(_PREFIX)
        if prefix is not None and trusted(environ.get("REMOTE_ADDR", "")):
            _mount(environ, prefix)
        return admission(environ, start_response)

    app.wsgi_app = mounted  # type: ignore[method-assign]


def _keep_slashes(environ: dict[str, Any]) -> None:
    """Leave %2F in the path, which names of models may hold: routes go by the other slashes."""
    path = _SLASH.sub("%252F", path_of(environ["RAW_URI"]).partition("?")[0])
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    environ[_SLASHES] = True


def _decode_slashes(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    if values and "model" in values and _SLASHES in request.environ:
        values["model"] = values["model"].replace("%2F", "/")


def _mount(environ: dict[str, Any], header: str) -> None:
    """Say where a proxy has mounted the gateway, as WSGI does it.

    Args:
        environ: of the request.
        header: X-Forwarded-Prefix. Of several proxies the outermost adds the first prefix. Some
            proxies remove it from the path, and some do not.
    """
    parts = [part for each in header.split(",") for part in each.strip().split("/") if part]
    if not all(_PLAIN.fullmatch(part) for part in parts):
        return
    prefix = "".join(f"/{part}" for part in parts)
    environ["SCRIPT_NAME"] = prefix
    if (path := environ["PATH_INFO"]) == prefix or path.startswith(f"{prefix}/"):
        environ["PATH_INFO"] = path[len(prefix) :]


def trusted_addresses(proxies: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether an address is of one of some proxies; what has none is a local socket, and is.

    Args:
        proxies: addresses or networks; "*" is all.

    Raises:
        ValueError: one is something else.
    """
    networks = [ipaddress.ip_network(proxy) for proxy in proxies if proxy != ANY]
    everybody = ANY in proxies

    def trusted(address: str) -> bool:
        if everybody or not address:
            return True
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:  # a name
            return False
        # As a socket for both kinds of addresses names one of the older kind.
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in networks)

    return trusted


def _patience(environ: dict[str, Any], config: GatewayConfig) -> float:
    try:
        return request_timeout(
            environ.get(_TIMEOUT), config.request_timeout, config.max_request_timeout
        )
    except InvalidInputError:  # said in _open_context
        return config.request_timeout


def _open_context(apis: tuple[Api, ...]) -> None:
    asked = request_ctx.request
    config, environ = gateway().config, asked.environ
    api = api_of(asked.path, asked.blueprint, apis)
    # First without the header: if that is wrong, the error needs a context too.
    current = RequestContext(
        request_id(environ.get(_REQUEST_ID)),
        api.name,
        config.request_timeout,
        arrived(environ),
        trace=trace_context(environ.get(_TRACE), environ.get(_TRACE_STATE)),
    )
    set_context(current)
    current.timeout = request_timeout(
        environ.get(_TIMEOUT), config.request_timeout, config.max_request_timeout
    )
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        # Who does not take the response does not keep its place for ever.
        connection.settimeout(current.timeout)
        length = asked.content_length
        # What is left of a body that is shorter, the server reads by itself.
        current.unread = "HTTP_TRANSFER_ENCODING" in environ or (length or 0) > _READ_ANYWAY


def _require_admission() -> None:
    decided = verdict(request.environ)
    if decided == "late":
        raise DeadlineExceededError(Code.DEADLINE_EXCEEDED, "its time was over in the queue")
    if decided == "full":
        gateway().observer.refused("queue")
        raise ProblemError(
            Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "The gateway has as many requests as it can take.",
                Code.RESOURCE_EXHAUSTED,
                hint="Try again in a moment, with fewer requests at a time.",
                headers=RETRY_AFTER,
            )
        )


def _close_context(response: Response, close_connection: Callable[[], None]) -> Response:
    current = context()
    if response.status_code == HTTPStatus.PERMANENT_REDIRECT and response.location:
        # From /ml to /ml/. Without the host: a proxy may ask for another than its client did.
        response.location = urlunsplit(("", "", *urlsplit(response.location)[2:]))
    if current.unread:
        # The next request would begin somewhere in the rest of the body.
        close_connection()
    response.headers[_ID_HEADER] = current.request_id
    gateway().observer.answered(current, response.status_code)
    return response
