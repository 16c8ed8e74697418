"""ModelService: which versions there are."""

from serving.api.messages import model_status_pb2
from serving.model_server.deadline import Deadline
from serving.model_server.grpc_api.model_ref import model_ref
from serving.model_server.inference.core import Core
from serving.model_server.models.servable import VersionStatus


class ModelService:
    """The calls of tensorflow.serving.ModelService."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def get_model_status(
        self, request: model_status_pb2.GetModelStatusRequest, _: Deadline
    ) -> model_status_pb2.GetModelStatusResponse:
        """The versions of a model, or the one asked for."""
        return status_message(self._core.status(model_ref(request)))


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
