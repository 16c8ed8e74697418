"""The gRPC clients: call any TensorFlow Serving directly, with preprocessing and labels here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec.structs import replace

from rockstar_client.backend import BackendCall, Metadata, Query, VersionStatus
from rockstar_client.calls import DEFAULT_RETRY, Deadline, RetryPolicy, run, run_async
from rockstar_client.client import Api, AsyncClient, Client, Result
from rockstar_client.endpoint import Tls, fixed_headers
from rockstar_client.errors import (
    CallError,
    InvalidRequestError,
    NotFoundError,
    ServerError,
    invalid_request,
)
from rockstar_client.examples import Example, Inputs, NamedExample, named_examples, require_clear
from rockstar_client.predictor import ModelInputs, PredictionSteps, Steps
from rockstar_client.results import (
    Answer,
    ModelInfo,
    ModelMetadata,
    ModelVersion,
    answer_of,
    signatures_of,
)
from rockstar_client.tfserving import AsyncTFServingClient, ChannelOptions, TFServingClient
from rockstar_contract.contract import CONTRACT_SIGNATURE, Contract, Input, TensorInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import is_batch, prepare, read_tensors, split_batch, stack
from rockstar_contract.tables import Adjustments
from tfs_api.status import Code


class _GrpcConnection:
    """The connection of both clients, and their API."""

    _connect: Callable[..., Any]

    def __init__(
        self,
        address: str = "127.0.0.1:8500",
        *,
        models: Sequence[str] = (),
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """Connect when first used.

        Args:
            address: "host:port" of the server's gRPC API, "dns:///name:port", or "unix:/path". If a
                name has several addresses, they are used in turn.
            models: names, for `models` and `ready`: TensorFlow Serving cannot list its models.
            api_key: if a proxy in front of the server requires one.
            headers: additional gRPC metadata for every call.
            tls: the certificates to trust and to send; None means plain text.
            retry: when a failed call is made again.

        Raises:
            InvalidInputError: an argument is invalid, or a file cannot be read.
        """
        metadata = partial(tuple, tuple(fixed_headers(api_key, headers).items()))
        options = ChannelOptions(retry, tls, proxy=True)
        self._server = self._connect(address, headers=metadata, options=options)
        self._api: Api = _ModelApi(models)


class GrpcClient(_GrpcConnection, Client):
    """Predicts with models that have a contract; thread-safe, and a context manager.

    A process that is forked, or that unpickles a client, creates a connection of its own. Fork
    while no other thread is in a call: gRPC may otherwise hang in the child.
    """

    _connect = TFServingClient

    def close(self) -> None:
        """Close the connection; calls now raise a RuntimeError."""
        self._server.close()

    def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        return run(start(Deadline(timeout)), lambda call: call(self._server))


class AsyncGrpcClient(_GrpcConnection, AsyncClient):
    """Predicts with models that have a contract, in event loops; a context manager.

    It works in several event loops, each with a connection of its own, but not in a process that
    was forked after one of its kind was used: gRPC does not support that.
    """

    _connect = AsyncTFServingClient

    async def close(self) -> None:
        """Close the connections; calls now raise a RuntimeError."""
        await self._server.close()

    async def _run(self, start: Callable[[Deadline], Steps[Result]], timeout: float) -> Result:
        return await run_async(start(Deadline(timeout)), self._server.call)


class _ModelApi:
    """The steps of each call, with a cache of contracts; thread-safe."""

    def __init__(self, models: Sequence[str]) -> None:
        """Store the names of the models, which TensorFlow Serving cannot list."""
        if isinstance(models, str):
            expected = f"a list, such as [{models!r}]"
            raise InvalidInputError("models", expected=expected, got="a text")
        self._models = tuple(models)
        self._predictions = PredictionSteps()

    def predict(
        self, query: Query, inputs: Inputs, top: int, strict: bool, deadline: Deadline
    ) -> Steps[Answer]:
        """Predict inputs with the model and version of a query."""
        require_clear(query.model, query.version, query.label, top)
        try:
            examples = named_examples(inputs)
        except InvalidInputError as error:
            raise invalid_request(error) from error
        adjusted: dict[int, Adjustments] = {}
        try:
            answer = yield from self._predictions.predict(
                query, partial(_batch, examples, strict, adjusted), deadline.left
            )
        except InvalidInputError as error:
            found = (n for n, each in enumerate(examples) if error.field.startswith(each.field))
            index = max(found, key=lambda n: len(examples[n].field), default=None)
            raise invalid_request(error, index) from error
        if answer.contract.task == "tensors":
            return Answer(query.model, answer.contract.version, outputs=answer.named)
        return answer_of(query.model, answer.contract, answer.outputs, top, adjusted)

    def models(self, deadline: Deadline) -> Steps[tuple[ModelInfo, ...]]:
        """Describe the client's models; an error if it was created without models."""
        if not self._models:
            message = "TensorFlow Serving has no call that lists its models: name them, as in "
            message += 'GrpcClient(address, models=["cnn"])'
            raise InvalidRequestError(Code.UNIMPLEMENTED, message)
        found: tuple[ModelInfo, ...] = ()
        for model in self._models:
            found += ((yield from self._describe(model, deadline)),)
        return found

    def metadata(self, query: Query, deadline: Deadline) -> Steps[ModelMetadata]:
        """Read the signatures and the contract of a version."""
        model = query.model
        require_clear(model, query.version, query.label)
        found: Metadata = yield BackendCall("metadata", replace(query, timeout=deadline.left()))
        try:
            signatures = signatures_of(found.signatures)
        except ValueError as error:
            message = f"the signatures of model {model} cannot be read: {error}"
            raise ServerError(Code.INTERNAL, message) from error
        contract: Contract | None = None
        if CONTRACT_SIGNATURE in signatures:
            exact = Query(model, version=found.version)
            contract = yield from self._predictions.contract(exact, deadline.left)
        return ModelMetadata(model, found.version, signatures, contract)

    def ready(self, deadline: Deadline) -> Steps[bool]:
        """Check whether every model of the client is ready; without models, the server itself."""
        try:
            for model in self._models:
                query = Query(model, timeout=deadline.left())
                states: list[VersionStatus] = yield BackendCall("status", query)
                if not any(state.state == "AVAILABLE" for state in states):
                    return False
            if not self._models:
                # No model has an empty name: the error shows that the server is alive.
                yield BackendCall("status", Query("", timeout=deadline.left()))
        except (InvalidRequestError, NotFoundError):
            return not self._models
        except CallError:
            return False
        return True

    def _describe(self, model: str, deadline: Deadline) -> Steps[ModelInfo]:
        try:
            states: list[VersionStatus] = yield BackendCall(
                "status", Query(model, timeout=deadline.left())
            )
        except NotFoundError:
            return ModelInfo(model, ())
        versions = tuple(ModelVersion(each.version, each.state, each.error) for each in states)
        info = ModelInfo(model, versions)
        if not info.available:
            return info
        found = (yield from self.metadata(Query(model), deadline)).contract
        if found is None:
            return info
        return ModelInfo(
            model, versions, found.task, found.labels, found.target, found.metrics, found.created
        )


def _batch(
    examples: Sequence[NamedExample], strict: bool, adjusted: dict[int, Adjustments], spec: Input
) -> ModelInputs:
    """Prepare examples for a model: float32 [n, *spec.shape], or arrays [n, …] by name.

    `adjusted` receives the adjustments of rows, by position.
    """
    adjusted.clear()  # it may hold those for another version
    if isinstance(spec, TensorInput):
        arrays = [read_tensors(each.example, spec, each.field) for each in examples]
        return stack(arrays, [each.field for each in examples])
    rows = []
    for named in examples:
        parts: Iterable[tuple[str, Example]] = [(named.field, named.example)]
        if is_batch(named.example, spec):
            parts = split_batch(named.example, named.field)
        for field, example in parts:
            changes = Adjustments()
            rows.append(prepare(example, spec, field=field, strict=strict, adjusted=changes))
            if changes:
                adjusted[len(rows) - 1] = changes
    return np.stack(rows)
