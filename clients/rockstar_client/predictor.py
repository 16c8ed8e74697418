"""Predict examples by a model's contract, whichever version answers.

Only the response says which version answered: a new version may have been loaded since the contract
was read, or a label moved. So calls go to the newest version, or to the label. If another version
than expected answers, its contract is read, and the examples are prepared again if its input
differs.
"""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_client.backend import Backend, TensorResponse
from rockstar_client.deadline import Deadline
from rockstar_client.errors import (
    InvalidRequestError,
    NotFoundError,
    ServerError,
    UnavailableError,
)
from rockstar_client.sans_io import run
from rockstar_contract.contract import Contract, Input
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

# Maximum number of version changes during one call.
_ATTEMPTS = 8
# Seconds for which a contract is still taken for the newest when inputs do not fit it.
_TRUSTED_S = 1.0

# Inputs of a model: the preprocessed tensor, or tensors by name.
Batch = NDArray[Any] | dict[str, NDArray[Any]]


class Predicted(msgspec.Struct, frozen=True):
    """The outputs of a model, and the contract of the version that computed them.

    Attributes:
        contract: of the version that answered.
        inputs: float32 [n, *shape], as they were sent; of a model that takes tensors, those.
        outputs: float32 [n, classes], probabilities; for a regression [n, 1], the numbers; for the
            task "tensors" [n, 0].
        named: for the task "tensors", the outputs by name.
    """

    contract: Contract
    inputs: Batch
    outputs: NDArray[Any]
    named: Mapping[str, NDArray[Any]] = {}


# A call to make on a backend, which may block or be awaited.
Ask = Callable[[Any], Any]


class Predicting:
    """The steps of a prediction, with a cache of contracts; thread-safe."""

    def __init__(self) -> None:
        # By model and version. Contracts never change and are small, so unused ones may stay.
        self._contracts: dict[tuple[str, int], Contract] = {}
        # By model and label (None: the newest), the version and when it was read (monotonic).
        self._current: dict[tuple[str, str | None], tuple[int, float]] = {}

    def steps(
        self,
        model: str,
        prepare: Callable[[Input], Batch],
        version: int | None,
        label: str | None,
        deadline: Deadline,
    ) -> Generator[Ask, Any, Predicted]:
        """Predict; see `Predictor.predict`."""
        contract = yield from self._contract(model, version, label, deadline)
        for attempt in range(_ATTEMPTS):
            try:
                batch = prepare(contract.input)
                response: TensorResponse = yield partial(
                    _predict, model, _feeds(batch, contract), version, label, deadline.left()
                )
            except (InvalidInputError, InvalidRequestError) as error:
                # The inputs may fit a version that was loaded since.
                current = contract
                if version is None:
                    may_trust = isinstance(error, InvalidInputError)
                    current = yield from self._refreshed(model, label, deadline, may_trust)
                if current.version == contract.version:
                    raise
                contract = current
                continue
            answered = yield from self._of_answer(model, response.version, attempt + 1, deadline)
            if answered is None:
                continue
            if version is None:
                self._current[model, label] = (response.version, time.monotonic())
            if answered.input == contract.input:
                if answered.task == "tensors":
                    return _named(response, answered, batch)
                return Predicted(answered, batch, _outputs(response, answered))
            contract = answered
        raise UnavailableError(Code.UNAVAILABLE, f"model {model} keeps changing its version")

    def forget(self, model: str) -> None:
        """Forget the contracts of a model, since its name may now belong to another model."""
        for exact in [key for key in self._contracts if key[0] == model]:
            self._contracts.pop(exact, None)
        for named in [key for key in self._current if key[0] == model]:
            self._current.pop(named, None)

    def _contract(
        self, model: str, version: int | None, label: str | None, deadline: Deadline
    ) -> Generator[Ask, Any, Contract]:
        if version is None and (model, label) in self._current:
            version = self._current[model, label][0]
        known = self._contracts.get((model, version)) if version is not None else None
        return known or (yield from self._read(model, version, label, deadline))

    def _of_answer(
        self, model: str, version: int, tries: int, deadline: Deadline
    ) -> Generator[Ask, Any, Contract | None]:
        """The contract of a version that has answered; None where its server was not reached.

        Servers get a new version one after the other. Where they take turns, asking each time a
        little more often gets another one its turn.
        """
        for _ in range(tries):
            with suppress(NotFoundError):
                return (yield from self._contract(model, version, None, deadline))
        return None

    def _refreshed(
        self, model: str, label: str | None, deadline: Deadline, may_trust: bool
    ) -> Generator[Ask, Any, Contract]:
        """The current contract; a fresh one may be trusted: bad inputs then cost no call each."""
        version, learnt = self._current[model, label]
        if may_trust and time.monotonic() - learnt < _TRUSTED_S:
            return self._contracts[model, version]
        return (yield from self._read(model, None, label, deadline))

    def _read(
        self, model: str, version: int | None, label: str | None, deadline: Deadline
    ) -> Generator[Ask, Any, Contract]:
        label = label if version is None else None
        contract: Contract = yield partial(_ask_contract, model, version, label, deadline.left())
        self._contracts[model, contract.version] = contract
        if version is None:
            self._current[model, label] = (contract.version, time.monotonic())
        return contract


class Predictor:
    """Predicts through a backend and remembers contracts; thread-safe."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._predicting = Predicting()

    def predict(
        self,
        model: str,
        prepare: Callable[[Input], Batch],
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float,
    ) -> Predicted:
        """Predict.

        Args:
            model: name.
            prepare: makes the batch for what a contract says of the input: float32 [n, *shape], or
                for tensors arrays [n, …] by name.
            version: None is the newest.
            label: picks the version instead.
            timeout: seconds for everything together.

        Raises:
            CallError: the call failed.
            InvalidInputError: raised by `prepare`, or the timeout is no number above 0.
        """
        steps = self._predicting.steps(model, prepare, version, label, Deadline(timeout))
        return run(steps, lambda ask: ask(self._backend))

    def forget(self, model: str) -> None:
        """Forget the contracts of a model, since its name may now belong to another model."""
        self._predicting.forget(model)


def _predict(
    model: str,
    inputs: dict[str, NDArray[Any]],
    version: int | None,
    label: str | None,
    timeout: float,
    backend: Any,
) -> Any:
    return backend.predict(model, inputs, version=version, label=label, timeout=timeout)


def _ask_contract(
    model: str, version: int | None, label: str | None, timeout: float, backend: Any
) -> Any:
    return backend.contract(model, version, label=label, timeout=timeout)


def _feeds(batch: Batch, contract: Contract) -> dict[str, NDArray[Any]]:
    if isinstance(batch, dict):
        return batch
    return {contract.encoded.name: batch}


def _named(response: TensorResponse, contract: Contract, batch: Batch) -> Predicted:
    names = [output.name for output in contract.outputs]
    rows = {array.shape[:1] for array in response.outputs.values()}
    if not response.outputs.keys() >= {*names} or len(rows) != 1 or () in rows:
        got = {name: list(array.shape) for name, array in response.outputs.items()}
        raise ServerError(
            Code.INTERNAL,
            f"model {contract.model} version {contract.version} should answer "
            f"{', '.join(names)} with a row for each example, got {got}",
        )
    ((count,),) = rows
    nothing = np.empty((count, 0), np.float32)
    return Predicted(contract, batch, nothing, {name: response.outputs[name] for name in names})


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
