"""Tensors in, tensors out: a client for any server that speaks TensorFlow Serving's gRPC API."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import grpc
import msgspec
import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from clients.backend import Metadata, TensorResponse, VersionStatus
from clients.channel import connect
from clients.connection import Connection
from clients.errors import CallError, InvalidRequestError, NotFoundError, ServerError, call_error
from serving import contract as contracts
from serving.api.messages.inference_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
    Input,
    RegressionRequest,
    RegressionResponse,
)
from serving.api.messages.model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from serving.api.messages.prediction_pb2 import (
    GetModelMetadataRequest,
    ModelSpec,
    PredictRequest,
    SignatureDefMap,
)
from serving.api.services import (
    CLASSIFY,
    GET_MODEL_METADATA,
    GET_MODEL_STATUS,
    PREDICT,
    REGRESS,
    Method,
)
from serving.api.signature import DEFAULT_SIGNATURE
from serving.api.status import Code
from serving.api.tensors import to_array, to_proto
from serving.contract import Contract, ContractError

DEFAULT_TIMEOUT_S = 10.0

# How TensorFlow Serving begins to say INVALID_ARGUMENT of a label that it does not know.
_NO_LABEL = "Unrecognized servable version label"
# The only field of GetModelMetadata that there is.
_SIGNATURES = "signature_def"

Headers = tuple[tuple[str, str], ...]

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class TFServingClient(Connection):
    """A connection to a server; thread-safe, and a context manager.

    Every call raises a `clients.errors.CallError` when it fails.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        headers: Callable[[], Headers] = tuple,
    ) -> None:
        """Connect when first used.

        Args:
            address: "host:port", or "unix:/path" of a socket.
            timeout: seconds that a call may take where it does not say itself.
            headers: gives what each call says in addition (gRPC metadata), such as traceparent.
        """
        self.address = address
        self._timeout = timeout
        self._headers = headers
        self._channel = connect(address)
        self._predict = self._callable(PREDICT)
        self._classify = self._callable(CLASSIFY)
        self._regress = self._callable(REGRESS)
        self._metadata = self._callable(GET_MODEL_METADATA)
        self._status = self._callable(GET_MODEL_STATUS)

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
        """Run a signature.

        Args:
            model: name.
            inputs: arrays by the signature's input names, each with the batch first.
            version: None is the newest.
            label: picks the version instead.
            signature: name.
            outputs: which ones to send back; none is all.
            timeout: seconds.
        """
        spec = _spec(model, version, label, signature)
        request = PredictRequest(model_spec=spec, output_filter=outputs)
        for name, array in inputs.items():
            # Raw bytes are several times cheaper to pack than a list of numbers.
            request.inputs[name].CopyFrom(to_proto(np.asarray(array), as_content=True))
        response = self._call(self._predict, request, timeout)
        arrays = {name: to_array(tensor) for name, tensor in response.outputs.items()}
        return TensorResponse(arrays, response.model_spec.version.value)

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
        """The classes of tf.Examples, by a signature that classifies; see `predict`."""
        spec = _spec(model, version, label, signature)
        request = ClassificationRequest(model_spec=spec, input=examples)
        return self._call(self._classify, request, timeout)

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
        """The numbers for tf.Examples, by a signature that regresses; see `predict`."""
        spec = _spec(model, version, label, signature)
        request = RegressionRequest(model_spec=spec, input=examples)
        return self._call(self._regress, request, timeout)

    def contract(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Contract:
        """What a model promises; its version is the one that the server knows it by.

        Raises:
            CallError: also a NotFoundError where there is no such label, and a ServerError where
                the model carries no contract that can be read.
        """
        query = {contracts.CONTRACT_INPUT: np.zeros(1, dtype=np.int32)}
        signature = contracts.CONTRACT_SIGNATURE
        try:
            response = self.predict(
                model, query, version=version, label=label, signature=signature, timeout=timeout
            )
            contract = Contract.from_json(response.outputs[contracts.CONTRACT_OUTPUT][0])
        except (InvalidRequestError, ContractError, KeyError, IndexError) as error:
            if isinstance(error, InvalidRequestError) and is_not_there(error):
                raise NotFoundError(Code.NOT_FOUND, error.message) from error
            raise ServerError(
                Code.INTERNAL, f"model {model} carries no contract that can be read: {error}"
            ) from error
        return msgspec.structs.replace(contract, version=response.version)

    def metadata(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Metadata:
        """The signatures of a version.

        Raises:
            CallError: also a ServerError where the answer is not in its format.
        """
        spec = _spec(model, version, label)
        request = GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURES])
        response = self._call(self._metadata, request, timeout)
        try:
            # Unpack() would want the official type name, which our messages do not bear.
            signatures = SignatureDefMap.FromString(response.metadata[_SIGNATURES].value)
        except DecodeError as error:
            raise ServerError(
                Code.INTERNAL, f"the signatures of model {model} cannot be read: {error}"
            ) from error
        return Metadata(response.model_spec.version.value, dict(signatures.signature_def))

    def status(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> list[VersionStatus]:
        """The versions of a model that the server knows, newest first; or the one picked."""
        request = GetModelStatusRequest(model_spec=_spec(model, version, label))
        response = self._call(self._status, request, timeout)
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

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _callable(self, method: Method[Request, Response]) -> Callable[..., Response]:
        stub = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.parse_response,
        )
        return cast("Callable[..., Response]", stub)

    def _call(
        self, method: Callable[..., Response], request: Message, timeout: float | None
    ) -> Response:
        try:
            return method(
                request,
                timeout=self._timeout if timeout is None else timeout,
                metadata=self._headers(),
            )
        except grpc.RpcError as error:
            code = Code(error.code().value[0])
            detail = error.details() or code.name
            if code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                detail = f"the model server at {self.address}: {detail}"
            raise call_error(code, detail) from error


def is_not_there(error: CallError) -> bool:
    """Whether a call failed because there is no such model, version or label."""
    return isinstance(error, NotFoundError) or (
        error.code is Code.INVALID_ARGUMENT and error.message.startswith(_NO_LABEL)
    )


def _spec(model: str, version: int | None, label: str | None, signature: str = "") -> ModelSpec:
    spec = ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    elif label is not None:
        spec.version_label = label
    return spec
