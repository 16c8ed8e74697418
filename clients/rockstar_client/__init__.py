"""Clients for the gateway (HTTP) and for TensorFlow Serving (gRPC), without TensorFlow."""

import importlib
from typing import TYPE_CHECKING, Any

__version__: str

if TYPE_CHECKING:
    from rockstar_client.async_http import AsyncHttpClient
    from rockstar_client.calls import RetryPolicy
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
    from rockstar_client.grpc import AsyncGrpcClient, GrpcClient
    from rockstar_client.http import HttpClient
    from rockstar_client.results import (
        Answer,
        Explanation,
        ModelInfo,
        ModelMetadata,
        ModelVersion,
        Prediction,
        RowExplanation,
    )
    from rockstar_contract.contract import Score, Value

# Modules are imported when a name is used: an HTTP client does not load gRPC.
_NAMES = {
    "rockstar_client.async_http": "AsyncHttpClient",
    "rockstar_client.calls": "RetryPolicy",
    "rockstar_client.endpoint": "Tls",
    "rockstar_client.errors": "CallError DeadlineExceededError InvalidRequestError NotFoundError "
    "OverloadedError ServerError UnavailableError",
    "rockstar_client.grpc": "AsyncGrpcClient GrpcClient",
    "rockstar_client.http": "HttpClient",
    "rockstar_client.results": "Answer Explanation ModelInfo ModelMetadata ModelVersion "
    "Prediction RowExplanation",
    "rockstar_contract.contract": "Score Value",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Answer",
    "AsyncGrpcClient",
    "AsyncHttpClient",
    "CallError",
    "DeadlineExceededError",
    "Explanation",
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
    "RowExplanation",
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
