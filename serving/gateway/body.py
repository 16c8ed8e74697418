"""The body of a request, as it came."""

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from serving.gateway.state import gateway


def whole_body() -> bytes:
    """The bytes of the current request's body.

    Raises:
        RequestEntityTooLarge: more than the settings allow.
    """
    body = request.get_data(cache=False)
    # A chunked body does not say its length beforehand: Werkzeug stops at the limit, silently.
    if request.content_length is None and len(body) >= gateway().config.max_body_bytes:
        raise RequestEntityTooLarge
    return body
