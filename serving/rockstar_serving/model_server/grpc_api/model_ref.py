"""Which model a gRPC request asks for."""

from typing import Any, Protocol

from tfs_api.messages import prediction_pb2
from tfs_api.model_ref import ModelRef
from tfs_api.status import Code, StatusError


class AsksForModel(Protocol):
    """A request message with a model_spec."""

    @property
    def model_spec(self) -> prediction_pb2.ModelSpec:
        """Name of the model, and perhaps a version or a label."""
        ...

    def HasField(self, field_name: Any) -> bool:  # noqa: N802 (protobuf's name)
        """Whether a field was set."""
        ...


def model_ref(request: AsksForModel) -> ModelRef:
    """The model, version or label of a request.

    Raises:
        StatusError: INVALID_ARGUMENT, it has no model_spec.
    """
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    return named_by(request.model_spec)


def named_by(spec: prediction_pb2.ModelSpec) -> ModelRef:
    """The model, version or label that a spec names."""
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelRef(spec.name, version=spec.version.value)
        case "version_label":
            return ModelRef(spec.name, label=spec.version_label)
        case _:
            return ModelRef(spec.name)
