"""ModelService: which versions there are, and which models to serve."""

from rockstar_serving.model_server.core import Core
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.grpc_api.model_ref import model_ref
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.models.config_file import model_configs
from rockstar_serving.model_server.models.servables import VersionStatus
from tfs_api.messages import model_management_pb2, model_status_pb2
from tfs_api.status import Code, StatusError


class ModelService:
    """The calls of tensorflow.serving.ModelService."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def get_model_status(
        self, request: model_status_pb2.GetModelStatusRequest, _: Deadline
    ) -> model_status_pb2.GetModelStatusResponse:
        """The versions of a model, or the one asked for."""
        return status_message(self._core.status(model_ref(request)))

    def handle_reload_config_request(
        self, request: model_management_pb2.ReloadConfigRequest, deadline: Deadline
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serve other models from now on; failures are the call's, as in TensorFlow Serving."""
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
        # Of a metric that it does not keep, TensorFlow Serving says that it did not increase.
        for name in sorted(set(request.metric_names)):
            response.metric.add(name=name, int64_value_increase=0)
        return response


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
