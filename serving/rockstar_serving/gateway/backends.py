"""Backends around other backends: the layers of a call to the model server.

`RoutedBackend` applies the routes file, `TimedBackend` times the calls of a request, and
`CircuitBreaker` reports calls to observers and fails fast while a model is silent. Batching and
models in the same process have files of their own.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from rockstar_client.backend import Backend, Metadata, TensorResponse, VersionStatus
from rockstar_client.errors import CallError, DeadlineExceededError, UnavailableError
from rockstar_contract.contract import Contract
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.observers import Call, Comparison, Observer
from rockstar_serving.gateway.routing import Destination, Router
from rockstar_serving.gateway.shadowing import TIMEOUT_S, Shadows, compare
from tfs_api.messages.inference_pb2 import (
    ClassificationResponse,
    Input,
    RegressionResponse,
)
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import Code

# Timeouts in a row that open the circuit.
FAILURES = 5
# Seconds between trial calls while it is open.
PAUSE_S = 1.0

Answer = TypeVar("Answer")


class BackendWrapper:
    """Forwards every call to another backend; subclasses override `_run`, or a call."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        """Make a call.

        Args:
            method: of the other backend.
            model: its first argument.
            arguments: its other positional arguments: none, or the inputs or examples.
            options: all its keyword arguments.
        """
        return method(model, *arguments, **options)

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
        return self._run(
            self._backend.predict,
            model,
            inputs,
            version=version,
            label=label,
            signature=signature,
            outputs=outputs,
            timeout=timeout,
        )

    def classify(
        self,
        model: str,
        examples: Input,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
    ) -> ClassificationResponse:
        """See Backend."""
        where = {"version": version, "label": label, "signature": signature}
        return self._run(self._backend.classify, model, examples, **where, timeout=timeout)

    def regress(
        self,
        model: str,
        examples: Input,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
    ) -> RegressionResponse:
        """See Backend."""
        where = {"version": version, "label": label, "signature": signature}
        return self._run(self._backend.regress, model, examples, **where, timeout=timeout)

    def contract(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Contract:
        """See Backend."""
        method = self._backend.contract
        return self._run(method, model, version=version, label=label, timeout=timeout)

    def metadata(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Metadata:
        """See Backend."""
        method = self._backend.metadata
        return self._run(method, model, version=version, label=label, timeout=timeout)

    def status(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> list[VersionStatus]:
        """See Backend."""
        method = self._backend.status
        return self._run(method, model, version=version, label=label, timeout=timeout)

    def close(self) -> None:
        """See Backend."""
        self._backend.close()


class RoutedBackend(BackendWrapper):
    """Applies aliases, splits and shadows; within a request only."""

    def __init__(self, backend: Backend, behind: Backend, router: Router, shadows: Shadows) -> None:
        """Wrap a backend.

        Args:
            backend: for the calls of requests.
            behind: for copies to shadows.
            router: picks destinations.
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


class TimedBackend(BackendWrapper):
    """Times calls, with the wait for a batch, as the phase "upstream" of the current request."""

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        with context().phase("upstream"):
            return method(model, *arguments, **options)


@dataclass
class _Silence:
    """Calls to a model in a row that timed out, and when the next trial may be (monotonic)."""

    calls: int = 0
    next_try: float = 0.0


class CircuitBreaker(BackendWrapper):
    """Reports calls to an observer, and fails fast while a model does not answer; thread-safe.

    Without a connection, gRPC fails fast and reconnects by itself. But it cannot tell a silent
    server from a slow one. So after several timeouts in a row calls are rejected, except for one
    trial call at a time; the first answer closes the circuit.
    """

    def __init__(self, backend: Backend, observer: Observer, enough: float) -> None:
        """Wrap a backend.

        Args:
            backend: makes the calls.
            observer: notified of calls and rejections.
            enough: seconds; a shorter call that times out says nothing about the server.
        """
        super().__init__(backend)
        self._observer = observer
        self._enough = enough
        self._lock = threading.Lock()
        # Models that were silent just now: usually empty.
        self._silent: dict[str, _Silence] = {}

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        if self._silent and not self._may_try(model):
            self._observer.refused("circuit")
            raise UnavailableError(Code.UNAVAILABLE, f"model {model} does not answer")
        started, code = time.perf_counter(), Code.OK
        try:
            answer = method(model, *arguments, **options)
        except CallError as error:
            code = error.code
            if not isinstance(error, DeadlineExceededError):
                self._silent.pop(model, None)
            elif options.get("timeout") is None or options["timeout"] >= self._enough:
                with self._lock:
                    silence = self._silent.setdefault(model, _Silence())
                    silence.calls += 1
                    silence.next_try = time.monotonic() + PAUSE_S
            raise
        else:
            if self._silent:
                self._silent.pop(model, None)
            return answer
        finally:
            seconds = time.perf_counter() - started
            rows = _rows(arguments[0]) if arguments else 0
            self._observer.called(Call(method.__name__, model, rows, seconds, code))

    def _may_try(self, model: str) -> bool:
        with self._lock:
            silence, now = self._silent.get(model), time.monotonic()
            if silence is None or silence.calls < FAILURES:
                return True
            if now < silence.next_try:
                return False
            silence.next_try = now + PAUSE_S
            return True


def _rows(inputs: Mapping[str, NDArray[Any]] | Input) -> int:
    """Number of examples; for Predict, the rows of the first input, where a scalar is one."""
    if isinstance(inputs, Input):
        lists = (inputs.example_list, inputs.example_list_with_context)
        return sum(len(each.examples) for each in lists)
    first = next(iter(inputs.values()), None)
    return len(first) if first is not None and first.ndim else 1


class LazyBackend(BackendWrapper):
    """A backend that is created by its first call; thread-safe."""

    def __init__(self, create: Callable[[], Backend]) -> None:
        self._create = create
        self._created: Backend | None = None
        self._lock = threading.Lock()

    @property
    def _backend(self) -> Backend:  # type: ignore[override]
        with self._lock:
            if self._created is None:
                self._created = self._create()
            return self._created

    def close(self) -> None:
        """See Backend."""
        if self._created is not None:
            self._created.close()
