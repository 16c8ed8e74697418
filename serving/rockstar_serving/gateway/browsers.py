"""What browsers are told: which other sites may ask (CORS), and what pages may do."""

from flask import Flask, Response, request

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.context import context

ANY = "*"
# For an Api that serves pages: everything from here, nothing inline, in nobody's frame.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_ALLOWED_HEADERS = (
    "Accept, Authorization, Content-Encoding, Content-Type, X-API-Key, X-Request-ID, "
    "X-Request-Timeout, traceparent"
)
_EXPOSED_HEADERS = "Retry-After, X-Request-ID"
# Seconds that a browser may remember the answer to its question.
_MAX_AGE = "600"


def init_app(app: Flask, origins: tuple[str, ...], apis: tuple[Api, ...]) -> None:
    """Add the headers to every answer.

    Args:
        app: the application.
        origins: sites whose scripts may ask, such as "https://example.org"; "*" is all.
        apis: each with headers of its own.
    """
    headers = {api.name: api.headers for api in apis}

    def add_headers(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        for name, value in headers[context().api].items():
            response.headers.setdefault(name, value)
        if origins:
            _allow(response, origins)
        return response

    app.after_request(add_headers)


def _allow(response: Response, origins: tuple[str, ...]) -> None:
    origin = request.headers.get("Origin")
    if ANY not in origins:
        response.vary.add("Origin")
        if origin not in origins:
            return
    response.headers["Access-Control-Allow-Origin"] = ANY if ANY in origins else str(origin)
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(response.allow))
        response.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = _MAX_AGE
