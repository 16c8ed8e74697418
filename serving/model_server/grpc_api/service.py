"""gRPC to the core: translation only."""

import logging
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from numpy.typing import NDArray

from serving.api import services
from serving.api.messages import model_status_pb2, prediction_pb2
from serving.api.signature import signature_def_map
from serving.api.status import Code, StatusError
from serving.api.tensors import to_array, to_proto
from serving.model_server.deadline import Deadline
from serving.model_server.inference.core import Core, Metadata
from serving.model_server.inference.predict import PredictQuery
from serving.model_server.models.manager import ModelRef
from serving.model_server.models.servable import VersionStatus

log = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

SIGNATURE_FIELD = "signature_def"
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handlers(core: Core, *, tensor_content: bool = False) -> tuple[grpc.GenericRpcHandler, ...]:
    """What a grpc.Server needs to answer TensorFlow Serving's calls.

    Args:
        core: answers them.
        tensor_content: whether Predict answers tensors as bytes instead of in their typed fields.
    """
    service = _Service(core, tensor_content)
    methods: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for method, behaviour in (
        (services.PREDICT, _guard(service.predict)),
        (services.GET_MODEL_METADATA, _guard(service.get_model_metadata)),
        (services.GET_MODEL_STATUS, _guard(service.get_model_status)),
    ):
        methods.setdefault(method.service, {})[method.name] = grpc.unary_unary_rpc_method_handler(
            behaviour,
            request_deserializer=method.parse_request,
            response_serializer=method.response.SerializeToString,
        )
    return tuple(
        grpc.method_handlers_generic_handler(service, group) for service, group in methods.items()
    )


class _Service:
    def __init__(self, core: Core, tensor_content: bool) -> None:
        self._core = core
        self._tensor_content = tensor_content

    def predict(
        self, request: prediction_pb2.PredictRequest, deadline: Deadline
    ) -> prediction_pb2.PredictResponse:
        spec = request.model_spec
        version, prediction = self._core.predict(
            _ref(request),
            PredictQuery(
                lambda _: _feeds(request),
                spec.signature_name,
                list(request.output_filter),
                deadline,
            ),
        )
        response = prediction_pb2.PredictResponse(
            outputs={
                name: to_proto(array, as_content=self._tensor_content)
                for name, array in prediction.outputs.items()
            }
        )
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = prediction.signature_name
        return response

    def get_model_metadata(
        self, request: prediction_pb2.GetModelMetadataRequest, _: Deadline
    ) -> prediction_pb2.GetModelMetadataResponse:
        ref = _ref(request)
        if not request.metadata_field:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != SIGNATURE_FIELD:
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        return metadata_message(request.model_spec.name, self._core.metadata(ref))

    def get_model_status(
        self, request: model_status_pb2.GetModelStatusRequest, _: Deadline
    ) -> model_status_pb2.GetModelStatusResponse:
        return status_message(self._core.status(_ref(request)))


def status_message(statuses: list[VersionStatus]) -> model_status_pb2.GetModelStatusResponse:
    """The answer to GetModelStatus."""
    response = model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        response.model_version_status.add(
            version=status.version,
            state=status.state.name,
            status=model_status_pb2.StatusProto(
                error_code=int(status.code), error_message=status.message
            ),
        )
    return response


def metadata_message(name: str, metadata: Metadata) -> prediction_pb2.GetModelMetadataResponse:
    """The answer to GetModelMetadata."""
    packed = any_pb2.Any(
        type_url=services.SIGNATURE_DEF_MAP_URL,
        value=signature_def_map(metadata.signatures).SerializeToString(),
    )
    response = prediction_pb2.GetModelMetadataResponse(metadata={SIGNATURE_FIELD: packed})
    response.model_spec.name = name
    response.model_spec.version.value = metadata.version
    return response


def _guard(
    behaviour: Callable[[Request, Deadline], Response],
) -> Callable[[Request, grpc.ServicerContext], Response]:
    """A call with its errors turned into statuses, not started when nobody waits for it."""

    def guarded(request: Request, context: grpc.ServicerContext) -> Response:
        deadline = Deadline.after(context.time_remaining(), lambda: not context.is_active())
        try:
            # It may have waited for a thread longer than its caller for the answer.
            deadline.check()
            return behaviour(request, deadline)
        except StatusError as error:
            code, message = _GRPC_CODES[int(error.code)], error.message
        except Exception:
            log.exception("%s failed", type(request).__name__)
            code, message = grpc.StatusCode.INTERNAL, "internal error"
        # Outside of the try, where what abort() raises would be caught.
        return _abort(context, code, message)

    return guarded


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, message)


def _ref(
    request: prediction_pb2.PredictRequest
    | prediction_pb2.GetModelMetadataRequest
    | model_status_pb2.GetModelStatusRequest,
) -> ModelRef:
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    spec = request.model_spec
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelRef(spec.name, version=spec.version.value)
        case "version_label":
            return ModelRef(spec.name, label=spec.version_label)
        case _:
            return ModelRef(spec.name)


def _feeds(request: prediction_pb2.PredictRequest) -> dict[str, NDArray[Any]]:
    feeds = {}
    inputs = request.inputs
    for name in inputs:  # the items() of a protobuf map take three times as long
        try:
            feeds[name] = to_array(inputs[name])
        except ValueError as error:
            raise StatusError(Code.INVALID_ARGUMENT, f"input {name!r}: {error}") from error
    return feeds
