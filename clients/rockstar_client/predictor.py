"""Predict examples by a model's contract, whichever version answers.

The version that answers is known from the response only: a new one may have been loaded since the
contract was read, or a label may have moved. So calls go to the newest version, or to the label. If
another version than expected answers, its contract is read, and the examples are prepared again if
its input differs.
"""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from rockstar_client.backend import BackendCall, PredictBackend, Query, TensorResponse
from rockstar_client.calls import DEFAULT_TIMEOUT_S, Deadline, run
from rockstar_client.errors import InvalidRequestError, NotFoundError, ServerError, UnavailableError
from rockstar_contract.contract import Contract, Input, TensorInput
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

# Maximum number of version changes during one call.
_ATTEMPTS = 8
# When inputs do not fit the newest contract, it is read again if it is older than this (seconds).
_TRUSTED_S = 1.0

Result = TypeVar("Result")
# Inputs of a model: the preprocessed tensor, or tensors by name.
ModelInputs = NDArray[Any] | dict[str, NDArray[Any]]
# The steps of a prediction; the generator is resumed with the result of each call.
Steps = Generator[BackendCall, Any, Result]


class Predicted(msgspec.Struct, frozen=True):
    """The outputs of a model, and the contract of the version that computed them."""

    contract: Contract
    inputs: ModelInputs  # as they were sent: float32 [n, *shape], or tensors by name
    # float32 [n, classes], probabilities; for a regression [n, 1], the numbers; for the task
    # "tensors" [n, 0].
    outputs: NDArray[Any]
    named: Mapping[str, NDArray[Any]] = {}  # for the task "tensors", the outputs by name


class PredictionSteps:
    """The steps of predictions, with a cache of contracts; thread-safe."""

    def __init__(self) -> None:
        # By model and version. Contracts never change and are small, so unused ones may stay.
        self._contracts: dict[tuple[str, int | None], Contract] = {}
        # By model and label (None: the newest), the version and when it was read (monotonic).
        self._current: dict[tuple[str, str | None], tuple[int, float]] = {}

    def predict(
        self, query: Query, prepare: Callable[[Input], ModelInputs], left: Callable[[], float]
    ) -> Steps[Predicted]:
        """Predict; `left` returns the seconds left, or raises. See `Predictor.predict`."""
        contract = yield from self.contract(query, left)
        for attempt in range(_ATTEMPTS):
            try:
                spec = contract.input
                batch = prepare(spec)
                name = "" if isinstance(spec, TensorInput) else spec.name
                inputs = batch if isinstance(batch, dict) else {name: batch}
                response: TensorResponse = yield BackendCall(
                    "predict", replace(query, inputs=inputs, timeout=left())
                )
            except (InvalidInputError, InvalidRequestError) as error:
                # The inputs may fit a version that was loaded since.
                current = contract
                if query.version is None:
                    may_trust = isinstance(error, InvalidInputError)
                    current = yield from self._refresh(query, left, may_trust)
                if current.version == contract.version:
                    raise
                contract = current
                continue
            answered = contract
            if response.version != contract.version:
                found = yield from self._find(query.model, response.version, attempt + 1, left)
                if found is None:
                    continue
                answered = found
            if query.version is None:
                self._current[query.model, query.label] = (response.version, time.monotonic())
            if answered.input == contract.input:
                return _predicted(response, answered, batch)
            contract = answered
        raise UnavailableError(Code.UNAVAILABLE, f"model {query.model} keeps changing its version")

    def contract(self, query: Query, left: Callable[[], float]) -> Steps[Contract]:
        """Look up the contract of a version; read it if it is not known."""
        version = query.version
        if version is None and (current := self._current.get((query.model, query.label))):
            version = current[0]
        known = self._contracts.get((query.model, version))
        return known or (yield from self._read(query, left))

    def forget(self, model: str) -> None:
        """Forget the contracts of a model, since its name may now belong to another model."""
        for exact in [key for key in self._contracts if key[0] == model]:
            self._contracts.pop(exact, None)
        for named in [key for key in self._current if key[0] == model]:
            self._current.pop(named, None)

    def _find(
        self, model: str, version: int, tries: int, left: Callable[[], float]
    ) -> Steps[Contract | None]:
        """Look up the contract of a version that has answered; None if no server has it.

        During a rollout some servers have the version and some do not. If they are called in turn,
        trying once more each time reaches another one.
        """
        for _ in range(tries):
            with suppress(NotFoundError):
                return (yield from self.contract(Query(model, version=version), left))
        return None

    def _refresh(self, query: Query, left: Callable[[], float], may_trust: bool) -> Steps[Contract]:
        """Read the current contract, unless it is fresh: else each bad input would cost a call."""
        current = self._current.get((query.model, query.label))
        if may_trust and current and time.monotonic() - current[1] < _TRUSTED_S:
            return self._contracts[query.model, current[0]]
        return (yield from self._read(query, left))

    def _read(self, query: Query, left: Callable[[], float]) -> Steps[Contract]:
        contract: Contract = yield BackendCall("contract", replace(query, timeout=left()))
        self._contracts[query.model, contract.version] = contract
        if query.version is None:
            self._current[query.model, query.label] = (contract.version, time.monotonic())
        return contract


class Predictor:
    """Predicts through a backend and remembers contracts; thread-safe."""

    def __init__(self, backend: PredictBackend) -> None:
        self._backend = backend
        self._steps = PredictionSteps()

    def predict(self, query: Query, prepare: Callable[[Input], ModelInputs]) -> Predicted:
        """Predict.

        Args:
            query: model, version or label; its timeout is for everything together.
            prepare: makes the batch for the input that a contract describes: float32 [n, *shape],
                or for tensors arrays [n, …] by name.

        Raises:
            CallError: the call failed.
            InvalidInputError: raised by `prepare`, or the timeout is not a number above 0.
        """
        timeout = DEFAULT_TIMEOUT_S if query.timeout is None else query.timeout
        steps = self._steps.predict(query, prepare, Deadline(timeout).left)
        return run(steps, lambda call: call(self._backend))

    def forget(self, model: str) -> None:
        """Forget the contracts of a model, since its name may now belong to another model."""
        self._steps.forget(model)


def _predicted(response: TensorResponse, contract: Contract, batch: ModelInputs) -> Predicted:
    outputs = response.outputs
    if contract.task == "tensors":
        names = [output.name for output in contract.outputs]
        rows = {array.shape[:1] for array in outputs.values()}
        if not outputs.keys() >= {*names} or len(rows) != 1 or () in rows:
            expected = f"{', '.join(names)} with a row for each example"
            raise _broken(contract, expected, outputs)
        ((count,),) = rows
        nothing = np.empty((count, 0), np.float32)
        return Predicted(contract, batch, nothing, {name: outputs[name] for name in names})
    name, width = contract.output, contract.output_width
    if name not in outputs or outputs[name].shape[1:] != (width,):
        raise _broken(contract, f"{name} of shape [n, {width}]", outputs)
    return Predicted(contract, batch, outputs[name])


def _broken(contract: Contract, expected: str, outputs: Mapping[str, NDArray[Any]]) -> ServerError:
    got = {name: list(array.shape) for name, array in outputs.items()}
    return ServerError(
        Code.INTERNAL,
        f"model {contract.model} version {contract.version} should answer {expected}, got {got}",
    )
