"""Authentication of requests: API keys and their rates; CORS, page headers and trusted proxies."""

import base64
import ipaddress
import logging
import math
from collections.abc import Callable, Iterable
from http import HTTPStatus

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.api_keys import Keys
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.errors import ProblemError
from rockstar_serving.gateway.observers import Observer, loggable
from tfs_api.status import Code

ANY = "*"
# For an Api that serves pages: everything from here, nothing inline, in no other site's frame.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
# How browsers ask for a key when a page is opened.
_BASIC = 'Basic realm="API key as the password", charset="UTF-8"'
_ALLOWED_HEADERS = (
    "Accept, Authorization, Content-Encoding, Content-Type, X-API-Key, X-Request-ID, "
    "X-Request-Timeout, traceparent"
)
_EXPOSED_HEADERS = "Retry-After, X-Request-ID"
# Seconds that a browser may cache the answer to a preflight request.
_MAX_AGE = "600"

log = logging.getLogger(__name__)


def presented_key(current: RequestContext) -> str:
    """The API key in the headers of a request; empty if there is none."""
    scheme, _, credentials = (current.header("authorization") or "").partition(" ")
    scheme, credentials = scheme.lower(), credentials.strip()
    if scheme == "bearer":
        return credentials
    if key := current.header("x-api-key"):
        return key.strip()
    # Browsers also send it with what pages of other sites post.
    site = current.header("sec-fetch-site") or "none"
    if scheme != "basic" or (current.method == "POST" and site not in ("same-origin", "none")):
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:  # neither Base64 nor UTF-8
        return ""


def require_key(
    keys: Keys, current: RequestContext, api: Api, model: str | None, observer: Observer
) -> None:
    """Check the API key of a request, and count it against the key's rate if its API is limited.

    The request gets the owner of the key as its caller. `model` is the name in its path, if any.

    Raises:
        ProblemError: 401 without a valid key, 403 if it is not for the model, 429 over its rate.
    """
    presented = presented_key(current)
    found = keys.find(presented)
    if found is None or found[1].has_expired:
        observer.refused("key")
        why = "This API key is not known." if presented else "An API key is needed."
        if found is not None:
            current.caller = found[0]
            why = f"This API key expired on {found[1].expires}."
        _log_rejection(current, why)
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            why,
            Code.UNAUTHENTICATED,
            hint="Send the header Authorization: Bearer KEY, or X-API-Key: KEY.",
            headers={"WWW-Authenticate": _BASIC if api.headers is PAGE_HEADERS else "Bearer"},
        )
    current.caller = owner = found[0]
    if model is not None and not keys.gives_access(owner, model):
        observer.refused("key")
        raise forbidden(current, f"the model {model}")
    if not api.unlimited and (wait := keys.take(owner)):
        observer.refused("rate")
        why = "This API key has no requests left for now."
        _log_rejection(current, why)
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            why,
            Code.RESOURCE_EXHAUSTED,
            hint="Retry-After says in how many seconds it has.",
            headers={"Retry-After": str(math.ceil(wait))},
        )


def forbidden(current: RequestContext, what: str) -> ProblemError:
    """The error for what the caller's key gives no access to; logs the rejection."""
    why = f"This API key is not for {what}."
    _log_rejection(current, why)
    return ProblemError(HTTPStatus.FORBIDDEN, why, Code.PERMISSION_DENIED)


def _log_rejection(current: RequestContext, why: str) -> None:
    """Log who was rejected and why, never the key."""
    fields = {
        "request_id": current.request_id,
        "method": current.method,
        "path": current.path,
        "caller": current.caller,
        "remote_address": current.remote_address,
    }
    log.warning(
        "rejected %s %s from %s, caller %s: %s (request %s)",
        current.method,
        loggable(current.path),
        current.remote_address or "a local socket",
        current.caller or "unknown",
        why,
        current.request_id,
        extra=fields,
    )


def cors_headers(
    current: RequestContext, origins: tuple[str, ...], methods: Iterable[str] = ()
) -> dict[str, str]:
    """The headers that allow scripts of other sites to read a response.

    `origins` are the allowed sites, such as "https://example.org"; "*" is all. OPTIONS lists the
    `methods` that are allowed at its path.
    """
    origin = current.header("origin")
    headers = {}
    if ANY not in origins:
        headers["Vary"] = "Origin"
        if origin not in origins:
            return headers
    headers["Access-Control-Allow-Origin"] = ANY if ANY in origins else str(origin)
    headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
    if current.method == "OPTIONS" and current.header("access-control-request-method"):
        headers["Access-Control-Allow-Methods"] = ", ".join(sorted(methods))
        headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
        headers["Access-Control-Max-Age"] = _MAX_AGE
    return headers


def trusted_addresses(proxies: tuple[str, ...]) -> Callable[[str], bool]:
    """A check whether an address belongs to a proxy; a local socket has none, and is trusted.

    Proxies are addresses or networks; "*" is all. Raises ValueError for others.
    """
    networks = [ipaddress.ip_network(proxy) for proxy in proxies if proxy != ANY]
    trust_all = ANY in proxies

    def trusted(address: str) -> bool:
        if trust_all or not address:
            return True
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:  # a name
            return False
        # A dual-stack socket reports IPv4 peers as IPv6 addresses.
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in networks)

    return trusted
