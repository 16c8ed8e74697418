"""How long requests wait for the model server, the queue before it included."""

from collections.abc import Callable
from typing import Any

from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.upstream.wrapped import Answer, Wrapped


class Timed(Wrapped):
    """A backend whose calls are the phase "upstream" of the current request."""

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        with context().phase("upstream"):
            return method(model, *arguments, **options)
