"""gRPC to the core: translation only."""

import logging
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message

from rockstar_serving.model_server.core import Core, Metadata
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.examples import (
    examples_query,
    multi_inference_query,
)
from rockstar_serving.model_server.grpc_api.admission import Handlers
from rockstar_serving.model_server.grpc_api.model_ref import model_ref, named_by
from rockstar_serving.model_server.grpc_api.model_service import ModelService
from rockstar_serving.model_server.grpc_api.open_inference import OpenInference
from rockstar_serving.model_server.grpc_api.results import (
    classification_message,
    regression_message,
    result_message,
)
from rockstar_serving.model_server.observers import Call, Observer, observed_call
from rockstar_serving.model_server.predict import predict_query
from tfs_api import services
from tfs_api.messages import inference_pb2, prediction_pb2
from tfs_api.signature import signature_def_map
from tfs_api.status import Code, StatusError, grpc_message
from tfs_api.tensors import write_tensor

log = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

Behaviour = Callable[[Any, grpc.ServicerContext], Any]

SIGNATURE_FIELD = "signature_def"
_model_of_spec = attrgetter("model_spec.name")
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handlers(
    core: Core, *, tensor_content: bool = False, observer: Observer | None = None
) -> Handlers:
    """What answers the calls of TensorFlow Serving and of the Open Inference Protocol.

    Args:
        core: answers them.
        tensor_content: whether Predict answers tensors as bytes instead of in their typed fields.
        observer: hears of the calls that TensorFlow Serving counts.
    """
    service, models = _Service(core, tensor_content), ModelService(core)
    inference = OpenInference(core)

    def measured(
        call: Call[Any, Response], api: str, model: Callable[[Any], str] = _model_of_spec
    ) -> Call[Any, Response]:
        return call if observer is None else observed_call(call, api, observer, model)

    model_infer = measured(inference.model_infer, "ModelInfer", attrgetter("model_name"))
    behaviours: list[tuple[services.Method[Any, Any], Behaviour]] = [
        (services.PREDICT, _guard(measured(service.predict, "Predict"))),
        (services.CLASSIFY, _guard(measured(service.classify, "Classify"))),
        (services.REGRESS, _guard(measured(service.regress, "Regress"))),
        (services.MULTI_INFERENCE, _guard(service.multi_inference)),
        (services.GET_MODEL_METADATA, _guard(service.get_model_metadata)),
        (services.GET_MODEL_STATUS, _guard(models.get_model_status)),
        (services.RELOAD_CONFIG, _guard(models.handle_reload_config_request)),
        (services.SERVER_LIVE, _guard(inference.server_live)),
        (services.SERVER_READY, _guard(inference.server_ready)),
        (services.MODEL_READY, _guard(inference.model_ready)),
        (services.SERVER_METADATA, _guard(inference.server_metadata)),
        (services.MODEL_METADATA, _guard(inference.model_metadata)),
        (services.MODEL_INFER, _guard(model_infer)),
        (services.MODEL_CONFIG, _guard(inference.model_config)),
        (services.REPOSITORY_INDEX, _guard(inference.repository_index)),
    ]
    return {
        method.path: grpc.unary_unary_rpc_method_handler(
            behaviour,
            request_deserializer=method.parse_request,
            response_serializer=method.response.SerializeToString,
        )
        for method, behaviour in behaviours
    }


class _Service:
    def __init__(self, core: Core, tensor_content: bool) -> None:
        self._core = core
        self._tensor_content = tensor_content

    def predict(
        self, request: prediction_pb2.PredictRequest, deadline: Deadline
    ) -> prediction_pb2.PredictResponse:
        spec = request.model_spec
        version, prediction = self._core.predict(
            model_ref(request), predict_query(request, deadline)
        )
        response = prediction_pb2.PredictResponse()
        for name, array in prediction.outputs.items():
            write_tensor(response.outputs[name], array, as_content=self._tensor_content)
        answered_by = response.model_spec
        answered_by.name, answered_by.signature_name = spec.name, prediction.signature_name
        answered_by.version.value = version
        return response

    def classify(
        self, request: inference_pb2.ClassificationRequest, deadline: Deadline
    ) -> inference_pb2.ClassificationResponse:
        version, found = self._core.classify(model_ref(request), examples_query(request, deadline))
        return inference_pb2.ClassificationResponse(
            result=classification_message(found),
            model_spec=_answered_by(request.model_spec, version, found.signature_name),
        )

    def regress(
        self, request: inference_pb2.RegressionRequest, deadline: Deadline
    ) -> inference_pb2.RegressionResponse:
        version, found = self._core.regress(model_ref(request), examples_query(request, deadline))
        return inference_pb2.RegressionResponse(
            result=regression_message(found),
            model_spec=_answered_by(request.model_spec, version, found.signature_name),
        )

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, deadline: Deadline
    ) -> inference_pb2.MultiInferenceResponse:
        # The first task says which version answers for all, as in TensorFlow Serving.
        first = request.tasks[0].model_spec if request.tasks else prediction_pb2.ModelSpec()
        version, results = self._core.multi_inference(
            named_by(first), multi_inference_query(request, deadline)
        )
        response = inference_pb2.MultiInferenceResponse()
        for task, found in zip(request.tasks, results, strict=True):
            result = response.results.add()
            result.CopyFrom(result_message(found))
            result.model_spec.CopyFrom(_answered_by(task.model_spec, version, found.signature_name))
        return response

    def get_model_metadata(
        self, request: prediction_pb2.GetModelMetadataRequest, _: Deadline
    ) -> prediction_pb2.GetModelMetadataResponse:
        ref = model_ref(request)
        if not request.metadata_field:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for field in request.metadata_field:
            if field != SIGNATURE_FIELD:
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        return metadata_message(request.model_spec.name, self._core.metadata(ref))


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
    context.abort(code, grpc_message(message))


def _answered_by(
    asked: prediction_pb2.ModelSpec, version: int, signature_name: str
) -> prediction_pb2.ModelSpec:
    spec = prediction_pb2.ModelSpec(name=asked.name, signature_name=signature_name)
    spec.version.value = version
    return spec
