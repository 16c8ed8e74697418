"""Authentication of requests: API keys and their rates; CORS, page headers and trusted proxies."""

import ipaddress
import math
from collections.abc import Callable, Iterable
from http import HTTPStatus

from rockstar_serving.gateway.api_keys import Keys
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.errors import ProblemError
from rockstar_serving.gateway.observers import Observer
from tfs_api.status import Code

ANY = "*"
# For an Api that serves pages: everything from here, nothing inline, in no other site's frame.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_SCHEME = "bearer "
_ALLOWED_HEADERS = (
    "Accept, Authorization, Content-Encoding, Content-Type, X-API-Key, X-Request-ID, "
    "X-Request-Timeout, traceparent"
)
_EXPOSED_HEADERS = "Retry-After, X-Request-ID"
# Seconds that a browser may cache the answer to a preflight request.
_MAX_AGE = "600"


def require_key(keys: Keys, current: RequestContext, model: str | None, observer: Observer) -> None:
    """Check the API key of a request, and count it against the key's rate.

    Args:
        keys: the known keys.
        current: the request; gets the owner of the key as its caller.
        model: the name in its path, if any.
        observer: notified of rejections.

    Raises:
        ProblemError: 401 without a known key, 403 if it is not for the model, 429 over its rate.
    """
    header = current.header("authorization") or ""
    if header[: len(_SCHEME)].lower() == _SCHEME:
        presented = header[len(_SCHEME) :].strip()
    else:
        presented = (current.header("x-api-key") or "").strip()
    owner = keys.owner(presented) if presented else None
    if owner is None:
        observer.refused("key")
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "This API key is not known." if presented else "An API key is needed.",
            Code.UNAUTHENTICATED,
            hint="Send the header Authorization: Bearer KEY, or X-API-Key: KEY.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    current.caller = owner
    if model is not None and not keys.gives_access(owner, model):
        observer.refused("key")
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            f"This API key is not for the model {model}.",
            Code.PERMISSION_DENIED,
        )
    wait = keys.buckets.take(owner)
    if wait:
        observer.refused("rate")
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "This API key has no requests left for now.",
            Code.RESOURCE_EXHAUSTED,
            hint="Retry-After says in how many seconds it has.",
            headers={"Retry-After": str(math.ceil(wait))},
        )


def cors_headers(
    current: RequestContext, origins: tuple[str, ...], methods: Iterable[str] = ()
) -> dict[str, str]:
    """The headers that allow scripts of other sites to read a response.

    Args:
        current: the request.
        origins: allowed sites, such as "https://example.org"; "*" is all.
        methods: allowed at its path; for OPTIONS.
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

    Args:
        proxies: addresses or networks; "*" is all.

    Raises:
        ValueError: an entry is neither.
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
