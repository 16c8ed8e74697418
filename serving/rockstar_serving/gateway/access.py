"""Who may ask: API keys, and how often each of them."""

import math
from http import HTTPStatus

from flask import Flask, request

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.api_keys import Keys
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import Problem, ProblemError
from rockstar_serving.gateway.state import gateway
from tfs_api.status import Code

_SCHEME = "bearer "


def init_app(app: Flask, keys: Keys, apis: tuple[Api, ...]) -> None:
    """Ask for a key wherever an API is not open; without keys, everybody may ask."""
    open_apis = {api.name for api in apis if api.open}

    def require_key() -> None:
        # Browsers ask beforehand, without a key, whether they may.
        if context().api not in open_apis and request.method != "OPTIONS":
            _require_key(keys)

    if keys:
        app.before_request(require_key)


def _require_key(keys: Keys) -> None:
    presented = _presented()
    owner = keys.owner(presented) if presented else None
    if owner is None:
        gateway().observer.refused("key")
        raise ProblemError(
            Problem(
                HTTPStatus.UNAUTHORIZED,
                "This API key is not known." if presented else "An API key is needed.",
                Code.UNAUTHENTICATED,
                hint="Send the header Authorization: Bearer KEY, or X-API-Key: KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        )
    context().caller = owner
    model = (request.view_args or {}).get("model")
    if model is not None and not keys.may_ask(owner, model):
        gateway().observer.refused("key")
        raise ProblemError(
            Problem(
                HTTPStatus.FORBIDDEN,
                f"This API key is not for the model {model}.",
                Code.PERMISSION_DENIED,
            )
        )
    wait = keys.buckets.take(owner)
    if wait:
        gateway().observer.refused("rate")
        raise ProblemError(
            Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "This API key has no requests left for now.",
                Code.RESOURCE_EXHAUSTED,
                hint="Retry-After says in how many seconds it has.",
                headers={"Retry-After": str(math.ceil(wait))},
            )
        )


def _presented() -> str:
    """The key in a request, or an empty text."""
    header = request.headers.get("Authorization", "")
    if header[: len(_SCHEME)].lower() == _SCHEME:
        return header[len(_SCHEME) :].strip()
    return request.headers.get("X-API-Key", "").strip()
