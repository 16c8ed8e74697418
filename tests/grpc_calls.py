"""gRPC calls with our messages, and errors of calls."""

from typing import Any

import grpc
import pytest

from tfs_api.services import PREDICT, Method
from tfs_api.tensors import to_proto


def stub(channel: grpc.Channel, method: Method[Any, Any]) -> Any:
    """A function that calls a server's method with a request."""
    return channel.unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )


def predict_request(model: str, signature: str = "", **inputs: Any) -> Any:
    request = PREDICT.request()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(array))
    return request


def failure(call: Any, *arguments: Any, timeout: float = 30) -> tuple[str, str]:
    """Name of the status code and details of a failed call."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=timeout)
    error: Any = caught.value
    return error.code().name, error.details()
