"""TensorFlow Serving as people ask it, for clients that block and that do not: each call's steps.

What is yielded is what to ask of a client of tensors, see `rockstar_client.predictor.Ask`.
"""

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from rockstar_client.answer import Answer, answer_of
from rockstar_client.backend import Metadata, VersionStatus
from rockstar_client.deadline import Deadline
from rockstar_client.errors import (
    CallError,
    InvalidRequestError,
    NotFoundError,
    ServerError,
    invalid_request,
)
from rockstar_client.examples import (
    Inputs,
    NamedExample,
    UnreadableExampleError,
    named_examples,
    require_clear,
)
from rockstar_client.model_info import (
    ModelInfo,
    ModelMetadata,
    ModelVersion,
    has_contract,
    signatures_of,
)
from rockstar_client.predictor import Ask, Batch, Predicting
from rockstar_contract.contract import Contract, Input, TensorInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import is_batch, prepare, read_tensors, stack
from rockstar_contract.tables import Adjustments
from tfs_api.signature import Signature
from tfs_api.status import Code

Result = TypeVar("Result")
Steps = Generator[Ask, Any, Result]


class ModelApi:
    """The calls, and the contracts that they have read; thread-safe."""

    def __init__(self, models: Sequence[str]) -> None:
        """Remember which models there are.

        Args:
            models: their names: TensorFlow Serving cannot list them.

        Raises:
            InvalidInputError: a text, which would be as many models as it has letters.
        """
        if isinstance(models, str):
            raise InvalidInputError(
                "models", expected=f"a list, such as [{models!r}]", got="a text"
            )
        self._models = tuple(models)
        self._predicting = Predicting()

    def predict(
        self,
        model: str,
        inputs: Inputs,
        version: int | None,
        label: str | None,
        top: int,
        strict: bool,
        deadline: Deadline,
    ) -> Steps[Answer]:
        """Predict inputs.

        Raises:
            CallError: the call failed, or the inputs cannot be used.
        """
        try:
            require_clear(model, version, label, top)
            examples = named_examples(inputs)
        except UnreadableExampleError as error:
            raise invalid_request(error, error.index) from error
        except InvalidInputError as error:
            raise invalid_request(error) from error
        adjusted: dict[int, Adjustments] = {}
        try:
            answer = yield from self._predicting.steps(
                model, partial(_batch, examples, strict, adjusted), version, label, deadline
            )
        except InvalidInputError as error:
            raise invalid_request(error, _index(error.field, examples)) from error
        if answer.contract.task == "tensors":
            return Answer(model, answer.contract.version, outputs=answer.named)
        return answer_of(model, answer.contract, answer.outputs, top, adjusted)

    def models(self, deadline: Deadline) -> Steps[tuple[ModelInfo, ...]]:
        """The models that the client was told of.

        Raises:
            CallError: a call failed, or it was told of none.
        """
        if not self._models:
            raise InvalidRequestError(
                Code.UNIMPLEMENTED,
                "TensorFlow Serving has no call that lists its models: name them, as in "
                'GrpcClient(address, models=["cnn"])',
            )
        found: tuple[ModelInfo, ...] = ()
        for model in self._models:
            found += ((yield from self._described(model, deadline)),)
        return found

    def metadata(
        self, model: str, version: int | None, label: str | None, deadline: Deadline
    ) -> Steps[ModelMetadata]:
        """What a version says of itself."""
        try:
            require_clear(model, version, label)
        except InvalidInputError as error:
            raise invalid_request(error) from error
        found: Metadata = yield partial(_ask_metadata, model, version, label, deadline.left())
        signatures = _signatures(model, found)
        contract: Contract | None = None
        if has_contract(signatures):
            contract = yield partial(_ask_contract, model, found.version, deadline.left())
        return ModelMetadata(model, found.version, signatures, contract)

    def ready(self, deadline: Deadline) -> Steps[bool]:
        """Whether every model that the client was told of answers; of none, whether the server."""
        try:
            for model in self._models:
                states = yield partial(_ask_status, model, deadline.left())
                if not any(state.state == "AVAILABLE" for state in states):
                    return False
            if not self._models:
                # There is no model without a name: whoever says so is alive.
                yield partial(_ask_status, "", deadline.left())
        except (InvalidRequestError, NotFoundError):
            return not self._models
        except CallError:
            return False
        return True

    def _described(self, model: str, deadline: Deadline) -> Steps[ModelInfo]:
        try:
            states: list[VersionStatus] = yield partial(_ask_status, model, deadline.left())
        except NotFoundError:
            return ModelInfo(model, ())
        versions = tuple(ModelVersion(each.version, each.state, each.error) for each in states)
        info = ModelInfo(model, versions)
        if not info.available:
            return info
        contract = (yield from self.metadata(model, None, None, deadline)).contract
        if contract is None:
            return info
        return ModelInfo(
            model,
            versions,
            contract.task,
            contract.labels,
            contract.target,
            contract.metrics,
            contract.created,
        )


def _batch(
    examples: Sequence[NamedExample], strict: bool, adjusted: dict[int, Adjustments], spec: Input
) -> Batch:
    """All examples as the model takes them: float32 [n, *spec.shape], or arrays [n, …] by name.

    `adjusted` gets what was changed in rows, by their position.
    """
    adjusted.clear()  # perhaps this is once more, for another version
    if isinstance(spec, TensorInput):
        arrays = [read_tensors(each.example, spec, each.field) for each in examples]
        return stack(arrays, [each.field for each in examples])
    rows = []
    for each in (each for example in examples for each in _split(example, spec)):
        changes = Adjustments()
        rows.append(prepare(each.example, spec, field=each.field, strict=strict, adjusted=changes))
        if changes:
            adjusted[len(rows) - 1] = changes
    return np.stack(rows)


def _split(named: NamedExample, spec: Input) -> Iterator[NamedExample]:
    """Arrays may be one example or a batch of them: their shape tells."""
    example = named.example
    if not isinstance(example, np.ndarray) or not is_batch(example, spec):
        yield named
        return
    if not len(example):
        raise InvalidInputError(
            named.field,
            expected="one or more examples",
            got=f"an empty array of shape {list(example.shape)}",
        )
    for index, row in enumerate(example):
        yield NamedExample(f"{named.field}[{index}]", row)


def _index(field: str, examples: Sequence[NamedExample]) -> int | None:
    """Which example a field is of or in."""
    found = [index for index, each in enumerate(examples) if field.startswith(each.field)]
    return max(found, key=lambda index: len(examples[index].field), default=None)


def _signatures(model: str, metadata: Metadata) -> dict[str, Signature]:
    try:
        return signatures_of(metadata.signatures)
    except ValueError as error:
        raise ServerError(
            Code.INTERNAL, f"the signatures of model {model} cannot be read: {error}"
        ) from error


def _ask_contract(model: str, version: int, timeout: float, server: Any) -> Any:
    return server.contract(model, version, timeout=timeout)


def _ask_metadata(
    model: str, version: int | None, label: str | None, timeout: float, server: Any
) -> Any:
    return server.metadata(model, version, label=label, timeout=timeout)


def _ask_status(model: str, timeout: float, server: Any) -> Any:
    return server.status(model, timeout=timeout)
