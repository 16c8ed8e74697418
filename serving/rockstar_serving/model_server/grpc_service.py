"""gRPC to the core: translates messages, and errors to statuses."""

import logging
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message

from rockstar_serving.model_server.core import Core, Metadata
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.examples import (
    Classification,
    Regression,
    Result,
    examples_query,
    multi_inference_query,
)
from rockstar_serving.model_server.grpc_server import Handlers
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.models.config_file import model_configs
from rockstar_serving.model_server.models.servables import VersionStatus
from rockstar_serving.model_server.observers import Call, Observer, observed_call
from rockstar_serving.model_server.open_inference import OpenInference
from rockstar_serving.model_server.predict import predict_query
from tfs_api import services
from tfs_api.messages import inference_pb2, model_management_pb2, model_status_pb2, prediction_pb2
from tfs_api.model_ref import ModelRef
from tfs_api.signature import signature_def_map
from tfs_api.status import Code, StatusError, grpc_message
from tfs_api.tensors import write_tensor


class _WithModelSpec(Protocol):
    """A request message with a model_spec."""

    @property
    def model_spec(self) -> prediction_pb2.ModelSpec:
        """Name of the model, and perhaps a version or a label."""
        ...

    def HasField(self, field_name: Any) -> bool:  # noqa: N802 (protobuf's name)
        """Whether a field was set."""
        ...


def model_ref(request: _WithModelSpec) -> ModelRef:
    """The model, version or label of a request.

    Raises:
        StatusError: INVALID_ARGUMENT, it has no model_spec.
    """
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    return _ref_of(request.model_spec)


def _ref_of(spec: prediction_pb2.ModelSpec) -> ModelRef:
    """The model, version or label that a spec names."""
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelRef(spec.name, version=spec.version.value)
        case "version_label":
            return ModelRef(spec.name, label=spec.version_label)
        case _:
            return ModelRef(spec.name)


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
    """The handlers of TensorFlow Serving's calls and of the Open Inference Protocol's.

    Args:
        core: that runs the models.
        tensor_content: whether Predict returns tensors as bytes instead of in their typed fields.
        observer: notified of the calls that TensorFlow Serving counts.
    """
    service = _Service(core, tensor_content)
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
        (services.GET_MODEL_STATUS, _guard(service.get_model_status)),
        (services.RELOAD_CONFIG, _guard(service.handle_reload_config_request)),
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
        found = response.model_spec
        found.name, found.signature_name = spec.name, prediction.signature_name
        found.version.value = version
        return response

    def classify(
        self, request: inference_pb2.ClassificationRequest, deadline: Deadline
    ) -> inference_pb2.ClassificationResponse:
        version, found = self._core.classify(model_ref(request), examples_query(request, deadline))
        return inference_pb2.ClassificationResponse(
            result=classification_message(found),
            model_spec=_model_spec(request.model_spec, version, found.signature_name),
        )

    def regress(
        self, request: inference_pb2.RegressionRequest, deadline: Deadline
    ) -> inference_pb2.RegressionResponse:
        version, found = self._core.regress(model_ref(request), examples_query(request, deadline))
        return inference_pb2.RegressionResponse(
            result=regression_message(found),
            model_spec=_model_spec(request.model_spec, version, found.signature_name),
        )

    def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, deadline: Deadline
    ) -> inference_pb2.MultiInferenceResponse:
        # The first task names the version for all, as in TensorFlow Serving.
        first = request.tasks[0].model_spec if request.tasks else prediction_pb2.ModelSpec()
        version, results = self._core.multi_inference(
            _ref_of(first), multi_inference_query(request, deadline)
        )
        response = inference_pb2.MultiInferenceResponse()
        for task, found in zip(request.tasks, results, strict=True):
            result = response.results.add()
            result.CopyFrom(result_message(found))
            result.model_spec.CopyFrom(_model_spec(task.model_spec, version, found.signature_name))
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

    def get_model_status(
        self, request: model_status_pb2.GetModelStatusRequest, _: Deadline
    ) -> model_status_pb2.GetModelStatusResponse:
        return status_message(self._core.status(model_ref(request)))

    def handle_reload_config_request(
        self, request: model_management_pb2.ReloadConfigRequest, deadline: Deadline
    ) -> model_management_pb2.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        try:
            configs = model_configs(request.config.model_config_list)
        except ConfigError as error:
            raise StatusError(Code.INVALID_ARGUMENT, str(error)) from error
        self._core.reload(configs, deadline)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = int(Code.OK)
        # TensorFlow Serving reports no increase of metrics that it does not keep.
        for name in sorted(set(request.metric_names)):
            response.metric.add(name=name, int64_value_increase=0)
        return response


def metadata_message(name: str, metadata: Metadata) -> prediction_pb2.GetModelMetadataResponse:
    """The response to GetModelMetadata."""
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
    """Turns the errors of a call into statuses; a call whose caller has gone is not started."""

    def guarded(request: Request, context: grpc.ServicerContext) -> Response:
        deadline = Deadline.after(context.time_remaining(), lambda: not context.is_active())
        try:
            # The call may have waited for a thread longer than the caller for a response.
            deadline.check()
            return behaviour(request, deadline)
        except StatusError as error:
            code, message = _GRPC_CODES[int(error.code)], error.message
        except Exception:
            log.exception("%s failed", type(request).__name__)
            code, message = grpc.StatusCode.INTERNAL, "internal error"
        # Outside of the try, which would catch the exception that abort() raises.
        return _abort(context, code, message)

    return guarded


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, grpc_message(message))


def _model_spec(
    requested: prediction_pb2.ModelSpec, version: int, signature_name: str
) -> prediction_pb2.ModelSpec:
    spec = prediction_pb2.ModelSpec(name=requested.name, signature_name=signature_name)
    spec.version.value = version
    return spec


def status_message(statuses: list[VersionStatus]) -> model_status_pb2.GetModelStatusResponse:
    """The response to GetModelStatus."""
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


def classification_message(found: Classification) -> inference_pb2.ClassificationResult:
    """The classes of each example.

    Raises:
        StatusError: INVALID_ARGUMENT, a label is no text.
    """
    message = inference_pb2.ClassificationResult()
    for labels, scores in zip(found.labels, found.scores.tolist(), strict=True):
        classes = message.classifications.add().classes
        for label, score in zip(labels, scores, strict=True):
            try:
                classes.add(label=label, score=score)
            except UnicodeEncodeError as error:
                raise StatusError(
                    Code.INVALID_ARGUMENT, f"the model's label {label!r} is no UTF-8 text"
                ) from error
    return message


def regression_message(found: Regression) -> inference_pb2.RegressionResult:
    """The number of each example."""
    message = inference_pb2.RegressionResult()
    for value in found.values.tolist():
        message.regressions.add(value=value)
    return message


def result_message(found: Result) -> inference_pb2.InferenceResult:
    """The result of a task."""
    if isinstance(found, Classification):
        return inference_pb2.InferenceResult(classification_result=classification_message(found))
    return inference_pb2.InferenceResult(regression_result=regression_message(found))
