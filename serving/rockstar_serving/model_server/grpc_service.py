"""gRPC to the core: translates messages, and errors to statuses."""

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from rockstar_serving.model_server.core import Core, predict_query
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.examples import (
    Classification,
    Regression,
    examples_query,
    multi_inference_query,
)
from rockstar_serving.model_server.grpc_server import Handlers
from rockstar_serving.model_server.models.config import ConfigError, model_configs
from rockstar_serving.model_server.open_inference import OpenInference
from rockstar_serving.model_server.options import GrpcOptions
from tfs_api import services
from tfs_api.messages import inference_pb2 as inference_pb
from tfs_api.messages import model_management_pb2 as management_pb
from tfs_api.messages import model_status_pb2 as status_pb
from tfs_api.messages import prediction_pb2 as prediction_pb
from tfs_api.model_ref import ModelRef
from tfs_api.signature import signature_def_map
from tfs_api.status import Code, StatusError, grpc_message, invalid
from tfs_api.tensors import write_tensor

if TYPE_CHECKING:
    from rockstar_serving.model_server.monitoring import Monitoring

log = logging.getLogger(__name__)

Call = Callable[[Any, Deadline], Any]

SIGNATURE_FIELD = "signature_def"
# The methods that TensorFlow Serving counts, and the field with the model's name.
_COUNTED = {
    services.PREDICT: "model_spec.name",
    services.CLASSIFY: "model_spec.name",
    services.REGRESS: "model_spec.name",
    services.MODEL_INFER: "model_name",
}
# What gRPC calls a client on a UNIX socket or on this machine's loopback interface. The rest of
# 127.0.0.0/8 is not included: proxies of service meshes use such addresses for clients elsewhere.
_LOCAL_PEER = re.compile(r"unix:.*|ipv4:127\.0\.0\.1:\d+|ipv6:(%5B|\[)::1(%5D|\]):\d+")
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handlers(core: Core, options: GrpcOptions, observer: "Monitoring | None" = None) -> Handlers:
    """The handlers of the calls of TensorFlow Serving and of the Open Inference Protocol."""
    service = _Service(core, options.tensor_content)
    inference = OpenInference(core)
    calls: dict[services.Method[Any, Any], Call] = {
        services.PREDICT: service.predict,
        services.CLASSIFY: service.classify,
        services.REGRESS: service.regress,
        services.MULTI_INFERENCE: service.multi_inference,
        services.GET_MODEL_METADATA: service.get_model_metadata,
        services.GET_MODEL_STATUS: service.get_model_status,
        services.RELOAD_CONFIG: service.handle_reload_config_request,
        services.SERVER_LIVE: inference.server_live,
        services.SERVER_READY: inference.server_ready,
        services.MODEL_READY: inference.model_ready,
        services.SERVER_METADATA: inference.server_metadata,
        services.MODEL_METADATA: inference.model_metadata,
        services.MODEL_INFER: inference.model_infer,
        services.MODEL_CONFIG: inference.model_config,
        services.REPOSITORY_INDEX: inference.repository_index,
    }
    checks = {services.RELOAD_CONFIG: partial(_check_reload, options.reloads_from)}
    return {
        method.path: grpc.unary_unary_rpc_method_handler(
            guard(method, call, observer, checks.get(method)),
            response_serializer=method.response.SerializeToString,
        )
        for method, call in calls.items()
    }


def _check_reload(allowed: str, peer: str) -> None:
    """Raise PERMISSION_DENIED if a client may not change the models."""
    if allowed == "none" or (allowed == "local" and not _LOCAL_PEER.fullmatch(peer)):
        log.warning("rejected HandleReloadConfigRequest from %s", peer)
        raise StatusError(
            Code.PERMISSION_DENIED,
            f"HandleReloadConfigRequest is not allowed from {peer}: this server has "
            f"--allow_config_reload_from={allowed}",
        )


def guard(
    method: services.Method[Any, Any],
    call: Call,
    observer: "Monitoring | None" = None,
    check: Callable[[str], None] | None = None,
) -> Callable[[bytes, grpc.ServicerContext], Any]:
    """Make the handler of a method, which parses the request and turns errors into statuses.

    gRPC itself would log a traceback for a message that cannot be parsed. A call is not started if
    its caller is gone. The observer counts requests like TensorFlow Serving. The check of the
    client's address may raise a StatusError.
    """
    observer = observer if method in _COUNTED else None
    model_name = attrgetter(_COUNTED.get(method, "model_spec.name"))

    def guarded(data: bytes, context: grpc.ServicerContext) -> Any:
        deadline = Deadline.after(context.time_remaining(), lambda: not context.is_active())
        started, code, message = None, Code.OK, ""
        try:
            if check is not None:
                check(context.peer())
            request = method.request.FromString(data)
            # The call may have waited for a thread longer than the caller for a response.
            deadline.check()
            started = time.perf_counter()
            return call(request, deadline)
        except StatusError as error:
            code, message = error.code, error.message
        except DecodeError:
            log.warning("%s: a request of %d bytes cannot be parsed", method.path, len(data))
            code, message = Code.INTERNAL, "Exception deserializing request!"
        except Exception:  # of any kind: its text is not for callers
            log.exception("%s failed", method.path)
            code, message = Code.INTERNAL, "internal error"
        finally:
            if observer is not None and started is not None:
                seconds = time.perf_counter() - started
                observer.request(model_name(request), method.name, "GRPC", code, seconds)
        # Outside of the try, which would catch the exception that abort() raises.
        return context.abort(_GRPC_CODES[int(code)], grpc_message(message))

    return guarded


class _Service:
    def __init__(self, core: Core, tensor_content: bool) -> None:
        self._core = core
        self._tensor_content = tensor_content

    def predict(
        self, request: prediction_pb.PredictRequest, deadline: Deadline
    ) -> prediction_pb.PredictResponse:
        query = predict_query(request, deadline)
        version, prediction = self._core.predict(model_ref(request), query)
        response = prediction_pb.PredictResponse()
        for name, array in prediction.outputs.items():
            write_tensor(response.outputs[name], array, as_content=self._tensor_content)
        found = response.model_spec
        found.name = request.model_spec.name
        found.signature_name = prediction.signature_name
        found.version.value = version
        return response

    def classify(
        self, request: inference_pb.ClassificationRequest, deadline: Deadline
    ) -> inference_pb.ClassificationResponse:
        version, found = self._core.classify(model_ref(request), examples_query(request, deadline))
        return inference_pb.ClassificationResponse(
            result=classification_message(found),
            model_spec=_model_spec(request.model_spec, version, found.signature_name),
        )

    def regress(
        self, request: inference_pb.RegressionRequest, deadline: Deadline
    ) -> inference_pb.RegressionResponse:
        version, found = self._core.regress(model_ref(request), examples_query(request, deadline))
        return inference_pb.RegressionResponse(
            result=_regression_message(found),
            model_spec=_model_spec(request.model_spec, version, found.signature_name),
        )

    def multi_inference(
        self, request: inference_pb.MultiInferenceRequest, deadline: Deadline
    ) -> inference_pb.MultiInferenceResponse:
        # The first task names the version for all, as in TensorFlow Serving.
        first = request.tasks[0].model_spec if request.tasks else prediction_pb.ModelSpec()
        version, results = self._core.multi_inference(
            _ref_of(first), multi_inference_query(request, deadline)
        )
        response = inference_pb.MultiInferenceResponse()
        for task, found in zip(request.tasks, results, strict=True):
            spec = _model_spec(task.model_spec, version, found.signature_name)
            if isinstance(found, Classification):
                message = classification_message(found)
                response.results.add(model_spec=spec, classification_result=message)
            else:
                response.results.add(model_spec=spec, regression_result=_regression_message(found))
        return response

    def get_model_metadata(
        self, request: prediction_pb.GetModelMetadataRequest, _: Deadline
    ) -> prediction_pb.GetModelMetadataResponse:
        ref = model_ref(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_FIELD:
                raise invalid(f"Metadata field {field} is not supported")
        version, signatures = self._core.metadata(ref)
        packed = any_pb2.Any(
            type_url=services.SIGNATURE_DEF_MAP_URL,
            value=signature_def_map(signatures).SerializeToString(),
        )
        response = prediction_pb.GetModelMetadataResponse(metadata={SIGNATURE_FIELD: packed})
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        return response

    def get_model_status(
        self, request: status_pb.GetModelStatusRequest, _: Deadline
    ) -> status_pb.GetModelStatusResponse:
        response = status_pb.GetModelStatusResponse()
        for status in self._core.status(model_ref(request)):
            response.model_version_status.add(
                version=status.version,
                state=status.state.name,
                status=status_pb.StatusProto(
                    error_code=int(status.code), error_message=status.message
                ),
            )
        return response

    def handle_reload_config_request(
        self, request: management_pb.ReloadConfigRequest, deadline: Deadline
    ) -> management_pb.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        try:
            configs = model_configs(request.config.model_config_list)
        except ConfigError as error:
            raise invalid(str(error)) from error
        self._core.reload(configs, deadline)
        response = management_pb.ReloadConfigResponse()
        response.status.error_code = int(Code.OK)
        # TensorFlow Serving reports no increase of metrics that it does not keep.
        for name in sorted(set(request.metric_names)):
            response.metric.add(name=name, int64_value_increase=0)
        return response


def model_ref(request: Any) -> ModelRef:
    """The model, version or label in a request's model_spec; INVALID_ARGUMENT if it has none."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return _ref_of(request.model_spec)


def _ref_of(spec: prediction_pb.ModelSpec) -> ModelRef:
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelRef(spec.name, version=spec.version.value)
        case "version_label":
            return ModelRef(spec.name, label=spec.version_label)
        case _:
            return ModelRef(spec.name)


def _model_spec(
    requested: prediction_pb.ModelSpec, version: int, signature_name: str
) -> prediction_pb.ModelSpec:
    spec = prediction_pb.ModelSpec(name=requested.name, signature_name=signature_name)
    spec.version.value = version
    return spec


def classification_message(found: Classification) -> inference_pb.ClassificationResult:
    """The classes of each example; INVALID_ARGUMENT if a label is not text."""
    message = inference_pb.ClassificationResult()
    for labels, scores in zip(found.labels, found.scores.tolist(), strict=True):
        classes = message.classifications.add().classes
        for label, score in zip(labels, scores, strict=True):
            try:
                classes.add(label=label, score=score)
            except UnicodeEncodeError as error:
                raise invalid(f"the model's label {label!r} is not UTF-8 text") from error
    return message


def _regression_message(found: Regression) -> inference_pb.RegressionResult:
    regressions = [inference_pb.Regression(value=value) for value in found.values.tolist()]
    return inference_pb.RegressionResult(regressions=regressions)
