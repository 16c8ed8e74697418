"""Clients for the gateway (HTTP) and for TensorFlow Serving (gRPC), without TensorFlow."""

import importlib
from typing import TYPE_CHECKING, Any

__version__: str

if TYPE_CHECKING:
    from rockstar_client.answer import Answer, Prediction
    from rockstar_client.async_grpc import AsyncGrpcClient
    from rockstar_client.async_http import AsyncHttpClient
    from rockstar_client.endpoint import Tls
    from rockstar_client.errors import (
        CallError,
        DeadlineExceededError,
        InvalidRequestError,
        NotFoundError,
        OverloadedError,
        ServerError,
        UnavailableError,
    )
    from rockstar_client.grpc import GrpcClient
    from rockstar_client.http import HttpClient
    from rockstar_client.model_info import ModelInfo, ModelMetadata, ModelVersion
    from rockstar_client.retry import RetryPolicy
    from rockstar_contract.labels import Score, Value

# Where each lies: only what is used is imported, for a client of HTTP no gRPC.
_MODULES = {
    "Answer": "rockstar_client.answer",
    "AsyncGrpcClient": "rockstar_client.async_grpc",
    "AsyncHttpClient": "rockstar_client.async_http",
    "CallError": "rockstar_client.errors",
    "DeadlineExceededError": "rockstar_client.errors",
    "GrpcClient": "rockstar_client.grpc",
    "HttpClient": "rockstar_client.http",
    "InvalidRequestError": "rockstar_client.errors",
    "ModelInfo": "rockstar_client.model_info",
    "ModelMetadata": "rockstar_client.model_info",
    "ModelVersion": "rockstar_client.model_info",
    "NotFoundError": "rockstar_client.errors",
    "OverloadedError": "rockstar_client.errors",
    "Prediction": "rockstar_client.answer",
    "RetryPolicy": "rockstar_client.retry",
    "Score": "rockstar_contract.labels",
    "ServerError": "rockstar_client.errors",
    "Tls": "rockstar_client.endpoint",
    "UnavailableError": "rockstar_client.errors",
    "Value": "rockstar_contract.labels",
}

__all__ = [
    "Answer",
    "AsyncGrpcClient",
    "AsyncHttpClient",
    "CallError",
    "DeadlineExceededError",
    "GrpcClient",
    "HttpClient",
    "InvalidRequestError",
    "ModelInfo",
    "ModelMetadata",
    "ModelVersion",
    "NotFoundError",
    "OverloadedError",
    "Prediction",
    "RetryPolicy",
    "Score",
    "ServerError",
    "Tls",
    "UnavailableError",
    "Value",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rockstartf")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
