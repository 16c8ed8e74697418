"""A backend around another, to do something with every call of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from rockstar_client.backend import Backend, Metadata, TensorResponse, VersionStatus
from rockstar_contract.contract import Contract
from tfs_api.messages.inference_pb2 import (
    ClassificationResponse,
    Input,
    RegressionResponse,
)
from tfs_api.signature import DEFAULT_SIGNATURE

Answer = TypeVar("Answer")


class Wrapped:
    """Passes every call on to another backend; subclasses override `_run`, or a call."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        """Make a call.

        Args:
            method: of the other backend.
            model: its first argument.
            arguments: those that follow: none, or the inputs or examples.
            options: its keyword arguments, all of them.
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
