"""TensorFlow Serving's calls without a connection: the messages to send, and what answers mean."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from rockstar_client.backend import Metadata, TensorResponse, VersionStatus
from rockstar_client.errors import (
    CallError,
    InvalidRequestError,
    NoContractError,
    NotFoundError,
    ServerError,
    call_error,
)
from rockstar_client.proxy import advice
from rockstar_contract import contract as contracts
from rockstar_contract.contract import Contract, ContractError
from tfs_api.messages.inference_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    Input,
    RegressionRequest,
    RegressionResponse,
)
from tfs_api.messages.model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
from tfs_api.messages.prediction_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from tfs_api.services import (
    CLASSIFY,
    GET_MODEL_METADATA,
    GET_MODEL_STATUS,
    PREDICT,
    REGRESS,
    Method,
)
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import Code
from tfs_api.tensors import to_array, to_proto

if TYPE_CHECKING:
    import grpc

METHODS: tuple[Method[Any, Any], ...] = (
    PREDICT,
    CLASSIFY,
    REGRESS,
    GET_MODEL_METADATA,
    GET_MODEL_STATUS,
)

# What the contract signature is asked.
CONTRACT_QUERY: Mapping[str, NDArray[Any]] = {contracts.CONTRACT_INPUT: np.zeros(1, dtype=np.int32)}
# How TensorFlow Serving begins to say INVALID_ARGUMENT of a label that it does not know.
_NO_LABEL = "Unrecognized servable version label"
# The only field of GetModelMetadata that there is.
_SIGNATURES = "signature_def"
# Errors that need not be the server's own words.
_OF_THE_WAY = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
# What to do, by gRPC's own words for a connection that was not made.
_HINTS = {
    "errors resolving": "expected HOST:PORT, dns:///NAME:PORT or unix:/PATH",
    "Failed parsing HTTP/2": "that is not the gRPC port, or it wants TLS: see tls=",
    "andshake": "does it speak TLS? see tls=",
}
# What a server may say of when to come back, in milliseconds (gRFC A6); negative is never.
_PUSHBACK = "grpc-retry-pushback-ms"

Result = TypeVar("Result")


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One call.

    Attributes:
        method: which.
        request: its message.
        read: makes the result of the response's message; it raises a CallError where it cannot.
        explain: makes a better error of the one that the server answered.
    """

    method: Method[Any, Any]
    request: Message
    read: Callable[[Any], Result] = _as_it_is
    explain: Callable[[CallError], CallError] = _as_it_is


def predict(
    model: str,
    inputs: Mapping[str, NDArray[Any]],
    version: int | None,
    label: str | None,
    signature: str = DEFAULT_SIGNATURE,
    outputs: Sequence[str] = (),
) -> Call[TensorResponse]:
    """Run a signature."""
    request = PredictRequest(
        model_spec=_spec(model, version, label, signature), output_filter=outputs
    )
    for name, array in inputs.items():
        values = np.asarray(array)
        # Raw bytes are several times cheaper to pack than a list of numbers. Strings stay in their
        # field: not every server reads them as bytes.
        numeric = values.dtype.kind not in "OSU"
        request.inputs[name].CopyFrom(to_proto(values, as_content=numeric))
    return Call(PREDICT, request, _tensors)


def classify(
    model: str, examples: Input, version: int | None, label: str | None, signature: str
) -> Call[ClassificationResponse]:
    """The classes of tf.Examples."""
    spec = _spec(model, version, label, signature)
    return Call(CLASSIFY, ClassificationRequest(model_spec=spec, input=examples))


def regress(
    model: str, examples: Input, version: int | None, label: str | None, signature: str
) -> Call[RegressionResponse]:
    """The numbers for tf.Examples."""
    spec = _spec(model, version, label, signature)
    return Call(REGRESS, RegressionRequest(model_spec=spec, input=examples))


def contract_in(response: TensorResponse, model: str) -> Contract:
    """What the answer of a model's contract signature promises.

    Raises:
        ServerError: nothing that can be read.
    """
    try:
        found = Contract.from_json(response.outputs[contracts.CONTRACT_OUTPUT][0])
    except (ContractError, KeyError, IndexError) as error:
        raise _no_contract(model, error) from error
    return msgspec.structs.replace(found, version=response.version)


def contract(model: str, version: int | None, label: str | None) -> Call[Contract]:
    """What a model promises; its version is the one that the server knows it by."""
    asked = predict(model, CONTRACT_QUERY, version, label, contracts.CONTRACT_SIGNATURE)

    def read(message: PredictResponse) -> Contract:
        return contract_in(_tensors(message), model)

    def explain(error: CallError) -> CallError:
        if not isinstance(error, InvalidRequestError):
            return error
        if is_not_there(error):
            return NotFoundError(Code.NOT_FOUND, error.message)
        return _no_contract(model, error)

    return Call(PREDICT, asked.request, read, explain)


def metadata(model: str, version: int | None, label: str | None) -> Call[Metadata]:
    """The signatures of a version."""
    request = GetModelMetadataRequest(
        model_spec=_spec(model, version, label), metadata_field=[_SIGNATURES]
    )

    def read(response: GetModelMetadataResponse) -> Metadata:
        try:
            # Unpack() would want the official type name, which our messages do not bear.
            signatures = SignatureDefMap.FromString(response.metadata[_SIGNATURES].value)
        except DecodeError as error:
            raise ServerError(
                Code.INTERNAL, f"the signatures of model {model} cannot be read: {error}"
            ) from error
        return Metadata(response.model_spec.version.value, dict(signatures.signature_def))

    return Call(GET_MODEL_METADATA, request, read)


def status(model: str, version: int | None, label: str | None) -> Call[list[VersionStatus]]:
    """The versions of a model that the server knows, newest first; or the one picked."""
    request = GetModelStatusRequest(model_spec=_spec(model, version, label))
    return Call(GET_MODEL_STATUS, request, _states)


def failure(error: "grpc.RpcError", address: str, proxy: str | None) -> CallError:
    """What went wrong, as ours; `proxy` is the host through which it was asked."""
    code = Code(error.code().value[0])
    detail = error.details() or code.name
    if code in _OF_THE_WAY:
        detail = f"the model server at {address}: {detail}"
    if code is Code.DEADLINE_EXCEEDED:
        detail += "; give it more time with timeout=, or see why it is slow"
    elif code is Code.UNAVAILABLE and proxy is not None:
        detail += f"; {advice(proxy, address.rpartition('/')[2].rpartition(':')[0])}"
    elif code is Code.UNAVAILABLE and "Failed to connect" in detail:
        detail = (
            f"no model server answers at {address} (gRPC); start one, for example with "
            "`rockstar serve`, or check the address"
        )
    elif code is Code.UNAVAILABLE:
        detail += next((f"; {hint}" for words, hint in _HINTS.items() if words in detail), "")
    return call_error(code, detail, retry_after=_retry_after(error.trailing_metadata() or ()))


def is_not_there(error: CallError) -> bool:
    """Whether a call failed because there is no such model, version or label."""
    return isinstance(error, NotFoundError) or (
        error.code is Code.INVALID_ARGUMENT and error.message.startswith(_NO_LABEL)
    )


def _tensors(response: PredictResponse) -> TensorResponse:
    arrays = {name: to_array(tensor) for name, tensor in response.outputs.items()}
    return TensorResponse(arrays, response.model_spec.version.value)


def _states(response: GetModelStatusResponse) -> list[VersionStatus]:
    versions = [
        VersionStatus(
            status.version,
            ModelVersionStatus.State.Name(status.state),
            status.status.error_message,
            Code(status.status.error_code),
        )
        for status in response.model_version_status
    ]
    return sorted(versions, key=lambda status: status.version, reverse=True)


def _no_contract(model: str, error: Exception) -> NoContractError:
    return NoContractError(
        Code.INTERNAL, f"model {model} carries no contract that can be read: {error}"
    )


def _retry_after(metadata: Iterable[tuple[str, str | bytes] | Any]) -> float | None:
    said = dict(metadata).get(_PUSHBACK)
    return int(said) / 1000 if isinstance(said, str) and said.isdigit() else None


def _spec(model: str, version: int | None, label: str | None, signature: str = "") -> ModelSpec:
    spec = ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    elif label is not None:
        spec.version_label = label
    return spec
