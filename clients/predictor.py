"""Predict examples by a model's own contract, whatever version answers.

The version that answers is known only from the answer: a new one may have come since the contract
was read. So a call goes to the newest version, and where another one than expected answers, its
contract is read and, if it takes other inputs, the examples are prepared anew.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from clients.errors import DeadlineExceededError, InvalidRequestError, ServerError, UnavailableError
from clients.tfserving import TensorResponse, VersionStatus
from serving.api.status import Code
from serving.contract import Contract, Input
from serving.errors import InvalidInputError

# How often a model may change its version under one call.
_ATTEMPTS = 3
# How long, in seconds, a contract of the newest version is trusted when inputs do not fit it.
_TRUSTED_S = 1.0


class Backend(Protocol):
    """What a predictor needs of a model server; `TFServingClient` is one."""

    def predict(
        self,
        model: str,
        inputs: dict[str, NDArray[Any]],
        *,
        version: int | None = None,
        timeout: float | None = None,
    ) -> TensorResponse:
        """Run `serving_default`."""

    def contract(
        self, model: str, version: int | None = None, *, timeout: float | None = None
    ) -> Contract:
        """The contract of a version, or of the newest."""

    def status(self, model: str, *, timeout: float | None = None) -> list[VersionStatus]:
        """The versions of a model, newest first."""

    def close(self) -> None:
        """Let go of the server."""


@dataclass(frozen=True)
class Predicted:
    """What a model answered, and the contract of the version that did.

    Attributes:
        contract: of the version that answered.
        outputs: float32 [n, classes], probabilities; for a regression [n, 1], the numbers.
    """

    contract: Contract
    outputs: NDArray[Any]


class Predictor:
    """Predicts through a backend and remembers contracts; thread-safe."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # By model and version. A contract never changes and is small: at worst an unused one stays.
        self._contracts: dict[tuple[str, int], Contract] = {}
        # By model, the newest version and when that was learnt (monotonic seconds).
        self._newest: dict[str, tuple[int, float]] = {}

    def predict(
        self,
        model: str,
        prepare: Callable[[Input], NDArray[Any]],
        *,
        version: int | None = None,
        timeout: float,
    ) -> Predicted:
        """Ask the model.

        Args:
            model: name.
            prepare: makes the batch, float32 [n, *shape], for what a contract says of the input.
            version: None is the newest.
            timeout: seconds for everything together.

        Raises:
            CallError: the call failed.
            InvalidInputError: raised by `prepare`.
        """
        deadline = time.monotonic() + timeout
        contract = self._contract(model, version, deadline)
        for _ in range(_ATTEMPTS):
            try:
                batch = prepare(contract.input)
                response = self._backend.predict(
                    model, {contract.input.name: batch}, version=version, timeout=_left(deadline)
                )
            except (InvalidInputError, InvalidRequestError) as error:
                # Perhaps right for a version that came since.
                newest = contract
                if version is None:
                    newest = self._refreshed(model, deadline, isinstance(error, InvalidInputError))
                if newest.version == contract.version:
                    raise
                contract = newest
                continue
            answered = self._contract(model, response.version, deadline)
            if version is None:
                self._newest[model] = (response.version, time.monotonic())
            if answered.input == contract.input:
                return Predicted(answered, _outputs(response, answered))
            contract = answered
        raise UnavailableError(Code.UNAVAILABLE, f"model {model} keeps changing its version")

    def _contract(self, model: str, version: int | None, deadline: float) -> Contract:
        if version is None and model in self._newest:
            version = self._newest[model][0]
        known = self._contracts.get((model, version)) if version is not None else None
        return known or self._read(model, version, deadline)

    def _refreshed(self, model: str, deadline: float, may_trust: bool) -> Contract:
        """The newest contract; a fresh one may be trusted, so that bad inputs cost no call each."""
        version, learnt = self._newest[model]
        if may_trust and time.monotonic() - learnt < _TRUSTED_S:
            return self._contracts[model, version]
        return self._read(model, None, deadline)

    def _read(self, model: str, version: int | None, deadline: float) -> Contract:
        contract = self._backend.contract(model, version, timeout=_left(deadline))
        self._contracts[model, contract.version] = contract
        if version is None:
            self._newest[model] = (contract.version, time.monotonic())
        return contract


def _outputs(response: TensorResponse, contract: Contract) -> NDArray[Any]:
    outputs = response.outputs.get(contract.output)
    if outputs is None or outputs.shape[1:] != (contract.output_width,):
        got = {name: list(array.shape) for name, array in response.outputs.items()}
        raise ServerError(
            Code.INTERNAL,
            f"model {contract.model} version {contract.version} should answer {contract.output} of "
            f"shape [n, {contract.output_width}], got {got}",
        )
    return outputs


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceededError(Code.DEADLINE_EXCEEDED, "there was no answer in time")
    return left
