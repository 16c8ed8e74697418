"""Calls to where the routes file sends them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from rockstar_client.backend import Backend, TensorResponse, VersionStatus
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.observers import Comparison
from rockstar_serving.gateway.routing import Destination, Router
from rockstar_serving.gateway.shadowing import TIMEOUT_S, Shadows, compare
from rockstar_serving.gateway.upstream.wrapped import Answer, Wrapped
from tfs_api.signature import DEFAULT_SIGNATURE


class Routed(Wrapped):
    """A backend that knows aliases, splits and shadows; within a request only."""

    def __init__(self, backend: Backend, behind: Backend, router: Router, shadows: Shadows) -> None:
        """Wrap a backend.

        Args:
            backend: for the calls of requests.
            behind: for their copies, which no request waits for.
            router: decides.
            shadows: makes copies.
        """
        super().__init__(backend)
        self._behind = behind
        self._router = router
        self._shadows = shadows

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        def call(to: Destination) -> Answer:
            where = {"version": to.version, "label": to.label}
            return method(to.model, *arguments, **(options | where))

        return self._router.follow(model, options["version"], options["label"], call)

    def status(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> list[VersionStatus]:
        """See Backend; a split does not hide the other versions of a model."""
        to = self._router.named(model, version, label)
        return self._backend.status(to.model, to.version, label=to.label, timeout=timeout)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TensorResponse:
        """See Backend."""

        def send(backend: Backend, to: Destination, seconds: float | None) -> TensorResponse:
            return backend.predict(
                to.model,
                inputs,
                version=to.version,
                label=to.label,
                signature=signature,
                outputs=outputs,
                timeout=seconds,
            )

        def call(to: Destination) -> TensorResponse:
            response = send(self._backend, to, timeout)
            context().version = response.version
            if (shadow := to.shadow) is not None:

                def copy() -> Comparison:
                    other = send(self._behind, shadow, TIMEOUT_S)
                    return compare(to.model, response.outputs, other.outputs)

                self._shadows.offer(to.model, copy)
            return response

        return self._router.follow(model, version, label, call)
