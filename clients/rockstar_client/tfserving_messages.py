"""TensorFlow Serving's calls without a connection: requests, responses and errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from msgspec.structs import replace
from numpy.typing import NDArray

from rockstar_client.backend import Metadata, Query, TensorResponse, VersionStatus
from rockstar_client.endpoint import proxy_hint
from rockstar_client.errors import (
    CallError,
    InvalidRequestError,
    NoContractError,
    NotFoundError,
    ServerError,
    call_error,
)
from rockstar_contract import contract as contracts
from rockstar_contract.contract import Contract, ContractError
from tfs_api.messages.inference_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
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

METHODS = (PREDICT, CLASSIFY, REGRESS, GET_MODEL_METADATA, GET_MODEL_STATUS)

# The inputs of the contract signature.
CONTRACT_QUERY: Mapping[str, NDArray[Any]] = {contracts.CONTRACT_INPUT: np.zeros(1, dtype=np.int32)}
# The beginning of TensorFlow Serving's INVALID_ARGUMENT message for an unknown label.
_NO_LABEL = "Unrecognized servable version label"
# The only field that GetModelMetadata supports.
_SIGNATURES = "signature_def"
# Errors that need not come from the server itself.
_CONNECTION_ERRORS = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
# Hints by parts of gRPC's messages about failed connections.
_HINTS = {
    "errors resolving": "expected HOST:PORT, dns:///NAME:PORT or unix:/PATH",
    "Failed parsing HTTP/2": "that is not the gRPC port, or it requires TLS: see tls=",
    "andshake": "does it speak TLS? see tls=",
}
# Milliseconds to wait before a retry, as requested by the server (gRFC A6); negative: never retry.
_PUSHBACK = "grpc-retry-pushback-ms"

Result = TypeVar("Result")


def _identity(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One call."""

    method: Method[Any, Any]  # of the API
    request: Message
    # Turns the response's message into the result; raises a CallError if it is invalid.
    read: Callable[[Any], Result] = _identity
    explain: Callable[[CallError], CallError] = _identity  # makes the server's error a better one


def predict(query: Query) -> Call[TensorResponse]:
    """Run a signature on tensors."""
    request = PredictRequest(
        model_spec=_spec(query, query.signature or DEFAULT_SIGNATURE), output_filter=query.outputs
    )
    for name, array in query.inputs.items():
        values = np.asarray(array)
        # Raw bytes are several times cheaper to pack than a list of numbers. Strings stay in their
        # field: not every server reads them as bytes.
        numeric = values.dtype.kind not in "OSU"
        request.inputs[name].CopyFrom(to_proto(values, as_content=numeric))
    return Call(PREDICT, request, _tensors)


def classify(query: Query) -> Call[ClassificationResponse]:
    """Classify tf.Examples."""
    spec = _spec(query, query.signature)
    return Call(CLASSIFY, ClassificationRequest(model_spec=spec, input=query.examples))


def regress(query: Query) -> Call[RegressionResponse]:
    """Regress tf.Examples."""
    spec = _spec(query, query.signature)
    return Call(REGRESS, RegressionRequest(model_spec=spec, input=query.examples))


def contract_in(response: TensorResponse, model: str) -> Contract:
    """Read the response of a model's contract signature, else raise a NoContractError."""
    try:
        found = Contract.from_json(response.outputs[contracts.CONTRACT_OUTPUT][0])
    except (ContractError, KeyError, IndexError) as error:
        raise _no_contract(model, error) from error
    return replace(found, version=response.version)


def contract_query(query: Query) -> Query:
    """The predict call that reads the contract of a version."""
    signature = contracts.CONTRACT_SIGNATURE
    return replace(query, inputs=CONTRACT_QUERY, signature=signature, outputs=())


def contract(query: Query) -> Call[Contract]:
    """Read a contract; its version is the number under which the server has loaded it."""

    def read(message: PredictResponse) -> Contract:
        return contract_in(_tensors(message), query.model)

    def explain(error: CallError) -> CallError:
        if not isinstance(error, InvalidRequestError):
            return error
        if is_not_found(error):
            return NotFoundError(Code.NOT_FOUND, error.message)
        return _no_contract(query.model, error)

    return Call(PREDICT, predict(contract_query(query)).request, read, explain)


def metadata(query: Query) -> Call[Metadata]:
    """Read the signatures of a version."""
    request = GetModelMetadataRequest(model_spec=_spec(query), metadata_field=[_SIGNATURES])

    def read(response: GetModelMetadataResponse) -> Metadata:
        try:
            # Unpack() would require the official type name, which our messages do not have.
            signatures = SignatureDefMap.FromString(response.metadata[_SIGNATURES].value)
        except DecodeError as error:
            message = f"the signatures of model {query.model} cannot be read: {error}"
            raise ServerError(Code.INTERNAL, message) from error
        return Metadata(response.model_spec.version.value, dict(signatures.signature_def))

    return Call(GET_MODEL_METADATA, request, read)


def status(query: Query) -> Call[list[VersionStatus]]:
    """List the versions of a model, newest first, or only the requested one."""
    return Call(GET_MODEL_STATUS, GetModelStatusRequest(model_spec=_spec(query)), _states)


def failure(error: "grpc.RpcError", address: str, proxy: str | None) -> CallError:
    """Translate an error of gRPC, from an address and through a proxy host, if any."""
    code = Code(error.code().value[0])
    detail = error.details() or code.name
    if code in _CONNECTION_ERRORS:
        detail = f"the model server at {address}: {detail}"
    if code is Code.DEADLINE_EXCEEDED:
        detail += "; give it more time with timeout=, or see why it is slow"
    elif code is Code.UNAVAILABLE and proxy is not None:
        detail += f"; {proxy_hint(proxy, address.rpartition('/')[2].rpartition(':')[0])}"
    elif code is Code.UNAVAILABLE and "Failed to connect" in detail:
        detail = (
            f"no model server answers at {address} (gRPC); start one, for example with "
            "`rockstar serve`, or check the address and the TLS settings"
        )
    elif code is Code.UNAVAILABLE:
        detail += next((f"; {hint}" for words, hint in _HINTS.items() if words in detail), "")
    trailing: Any = error.trailing_metadata() or ()
    pause = str(dict(trailing).get(_PUSHBACK, ""))
    return call_error(code, detail, retry_after=int(pause) / 1000 if pause.isdigit() else None)


def is_not_found(error: CallError) -> bool:
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
    message = f"model {model} carries no contract that can be read: {error}"
    return NoContractError(Code.INTERNAL, message)


def _spec(query: Query, signature: str = "") -> ModelSpec:
    spec = ModelSpec(name=query.model, signature_name=signature)
    if query.version is not None:
        spec.version.value = query.version
    elif query.label is not None:
        spec.version_label = query.label
    return spec
