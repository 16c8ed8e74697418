"""The gRPC methods of TensorFlow Serving and of the Open Inference Protocol.

They have their official paths and our message classes.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from tfs_api.messages import inference_pb2 as inference
from tfs_api.messages import model_management_pb2 as management
from tfs_api.messages import model_status_pb2 as status
from tfs_api.messages import open_inference_pb2 as oip
from tfs_api.messages import prediction_pb2 as prediction

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
INFERENCE_SERVICE = "inference.GRPCInferenceService"

# The release of TensorFlow Serving that has this API.
TENSORFLOW_SERVING_VERSION = "2.20"

# Type of the SignatureDefMap in the google.protobuf.Any of a GetModelMetadata response.
SIGNATURE_DEF_MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"

# Maximum message size in bytes, which TensorFlow Serving sets on its own server.
MAX_MESSAGE_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """A unary method: its service, name and message classes."""

    service: str
    name: str
    request: type[Request]
    response: type[Response]

    @property
    def path(self) -> str:
        """The HTTP/2 path of a call."""
        return f"/{self.service}/{self.name}"


PREDICT = Method(
    PREDICTION_SERVICE, "Predict", prediction.PredictRequest, prediction.PredictResponse
)
CLASSIFY = Method(
    PREDICTION_SERVICE,
    "Classify",
    inference.ClassificationRequest,
    inference.ClassificationResponse,
)
REGRESS = Method(
    PREDICTION_SERVICE, "Regress", inference.RegressionRequest, inference.RegressionResponse
)
MULTI_INFERENCE = Method(
    PREDICTION_SERVICE,
    "MultiInference",
    inference.MultiInferenceRequest,
    inference.MultiInferenceResponse,
)
GET_MODEL_METADATA = Method(
    PREDICTION_SERVICE,
    "GetModelMetadata",
    prediction.GetModelMetadataRequest,
    prediction.GetModelMetadataResponse,
)
GET_MODEL_STATUS = Method(
    MODEL_SERVICE, "GetModelStatus", status.GetModelStatusRequest, status.GetModelStatusResponse
)
RELOAD_CONFIG = Method(
    MODEL_SERVICE,
    "HandleReloadConfigRequest",
    management.ReloadConfigRequest,
    management.ReloadConfigResponse,
)
SERVER_LIVE = Method(INFERENCE_SERVICE, "ServerLive", oip.ServerLiveRequest, oip.ServerLiveResponse)
SERVER_READY = Method(
    INFERENCE_SERVICE, "ServerReady", oip.ServerReadyRequest, oip.ServerReadyResponse
)
MODEL_READY = Method(INFERENCE_SERVICE, "ModelReady", oip.ModelReadyRequest, oip.ModelReadyResponse)
SERVER_METADATA = Method(
    INFERENCE_SERVICE, "ServerMetadata", oip.ServerMetadataRequest, oip.ServerMetadataResponse
)
MODEL_METADATA = Method(
    INFERENCE_SERVICE, "ModelMetadata", oip.ModelMetadataRequest, oip.ModelMetadataResponse
)
MODEL_INFER = Method(INFERENCE_SERVICE, "ModelInfer", oip.ModelInferRequest, oip.ModelInferResponse)
MODEL_CONFIG = Method(
    INFERENCE_SERVICE, "ModelConfig", oip.ModelConfigRequest, oip.ModelConfigResponse
)
REPOSITORY_INDEX = Method(
    INFERENCE_SERVICE, "RepositoryIndex", oip.RepositoryIndexRequest, oip.RepositoryIndexResponse
)


def methods() -> list[Method[Any, Any]]:
    """All methods of this module."""
    return [value for value in globals().values() if isinstance(value, Method)]
