"""Clients for the gateway (HTTP) and for TensorFlow Serving (gRPC), without TensorFlow."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clients.answer import Answer, Prediction
    from clients.async_grpc import AsyncGrpcClient
    from clients.async_http import AsyncHttpClient
    from clients.described import ModelInfo, ModelMetadata, ModelVersion
    from clients.errors import (
        CallError,
        DeadlineExceededError,
        InvalidRequestError,
        NotFoundError,
        OverloadedError,
        ServerError,
        UnavailableError,
    )
    from clients.grpc import GrpcClient
    from clients.http import HttpClient
    from clients.retry import RetryPolicy
    from clients.tls import Tls
    from serving.labels import Score, Value

# Where each lies: only what is used is imported, for a client of HTTP no gRPC.
_MODULES = {
    "Answer": "clients.answer",
    "AsyncGrpcClient": "clients.async_grpc",
    "AsyncHttpClient": "clients.async_http",
    "CallError": "clients.errors",
    "DeadlineExceededError": "clients.errors",
    "GrpcClient": "clients.grpc",
    "HttpClient": "clients.http",
    "InvalidRequestError": "clients.errors",
    "ModelInfo": "clients.described",
    "ModelMetadata": "clients.described",
    "ModelVersion": "clients.described",
    "NotFoundError": "clients.errors",
    "OverloadedError": "clients.errors",
    "Prediction": "clients.answer",
    "RetryPolicy": "clients.retry",
    "Score": "serving.labels",
    "ServerError": "clients.errors",
    "Tls": "clients.tls",
    "UnavailableError": "clients.errors",
    "Value": "serving.labels",
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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
