"""The gRPC methods of TensorFlow Serving and of the Open Inference Protocol.

They have their official paths, with our message classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from tfs_api.messages import (
    inference_pb2,
    model_management_pb2,
    model_status_pb2,
    open_inference_pb2,
    prediction_pb2,
)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
INFERENCE_SERVICE = "inference.GRPCInferenceService"

# The one whose API this is.
TENSORFLOW_SERVING_VERSION = "2.20"

# Type of the SignatureDefMap that GetModelMetadata answers inside a google.protobuf.Any.
SIGNATURE_DEF_MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"

# Message sizes in bytes go up to what TensorFlow Serving sets on its own server.
MAX_MESSAGE_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A unary method: the service and name it is called by, and its message classes."""

    service: str
    name: str
    request: type[Request]
    response: type[Response]

    @property
    def path(self) -> str:
        """The HTTP/2 path of a call."""
        return f"/{self.service}/{self.name}"

    @property
    def parse_request(self) -> Callable[[bytes], Request]:
        """Deserializer of a request."""
        return self.request.FromString

    @property
    def parse_response(self) -> Callable[[bytes], Response]:
        """Deserializer of a response."""
        return self.response.FromString


PREDICT = Method(
    PREDICTION_SERVICE, "Predict", prediction_pb2.PredictRequest, prediction_pb2.PredictResponse
)
CLASSIFY = Method(
    PREDICTION_SERVICE,
    "Classify",
    inference_pb2.ClassificationRequest,
    inference_pb2.ClassificationResponse,
)
REGRESS = Method(
    PREDICTION_SERVICE,
    "Regress",
    inference_pb2.RegressionRequest,
    inference_pb2.RegressionResponse,
)
MULTI_INFERENCE = Method(
    PREDICTION_SERVICE,
    "MultiInference",
    inference_pb2.MultiInferenceRequest,
    inference_pb2.MultiInferenceResponse,
)
GET_MODEL_METADATA = Method(
    PREDICTION_SERVICE,
    "GetModelMetadata",
    prediction_pb2.GetModelMetadataRequest,
    prediction_pb2.GetModelMetadataResponse,
)
GET_MODEL_STATUS = Method(
    MODEL_SERVICE,
    "GetModelStatus",
    model_status_pb2.GetModelStatusRequest,
    model_status_pb2.GetModelStatusResponse,
)
RELOAD_CONFIG = Method(
    MODEL_SERVICE,
    "HandleReloadConfigRequest",
    model_management_pb2.ReloadConfigRequest,
    model_management_pb2.ReloadConfigResponse,
)
SERVER_LIVE = Method(
    INFERENCE_SERVICE,
    "ServerLive",
    open_inference_pb2.ServerLiveRequest,
    open_inference_pb2.ServerLiveResponse,
)
SERVER_READY = Method(
    INFERENCE_SERVICE,
    "ServerReady",
    open_inference_pb2.ServerReadyRequest,
    open_inference_pb2.ServerReadyResponse,
)
MODEL_READY = Method(
    INFERENCE_SERVICE,
    "ModelReady",
    open_inference_pb2.ModelReadyRequest,
    open_inference_pb2.ModelReadyResponse,
)
SERVER_METADATA = Method(
    INFERENCE_SERVICE,
    "ServerMetadata",
    open_inference_pb2.ServerMetadataRequest,
    open_inference_pb2.ServerMetadataResponse,
)
MODEL_METADATA = Method(
    INFERENCE_SERVICE,
    "ModelMetadata",
    open_inference_pb2.ModelMetadataRequest,
    open_inference_pb2.ModelMetadataResponse,
)
MODEL_INFER = Method(
    INFERENCE_SERVICE,
    "ModelInfer",
    open_inference_pb2.ModelInferRequest,
    open_inference_pb2.ModelInferResponse,
)
MODEL_CONFIG = Method(
    INFERENCE_SERVICE,
    "ModelConfig",
    open_inference_pb2.ModelConfigRequest,
    open_inference_pb2.ModelConfigResponse,
)
REPOSITORY_INDEX = Method(
    INFERENCE_SERVICE,
    "RepositoryIndex",
    open_inference_pb2.RepositoryIndexRequest,
    open_inference_pb2.RepositoryIndexResponse,
)


def methods() -> list[Method[Any, Any]]:
    """All of these methods."""
    return [value for value in globals().values() if isinstance(value, Method)]
