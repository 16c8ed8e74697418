"""ModelService: GetModelStatus; test_reload.py has HandleReloadConfigRequest."""

from typing import Any

import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
)

from tests.grpc_calls import failure
from tests.integration.model_server.official_stubs.calls import (
    spec_of,
)


def status_request(name: str = "toy", version: int | None = None, label: str | None = None) -> Any:
    return spec_of(get_model_status_pb2.GetModelStatusRequest(), name, version, label)


def test_status(models: Any) -> None:
    response = models.GetModelStatus(status_request(), timeout=30)
    state = get_model_status_pb2.ModelVersionStatus.State
    found = [
        (each.version, state.Name(each.state), each.status.error_code)
        for each in response.model_version_status
    ]
    assert found == [(3, "END", 9), (2, "AVAILABLE", 0), (1, "AVAILABLE", 0)]
    assert "model.tflite is damaged" in response.model_version_status[0].status.error_message


def test_status_of_one_version(models: Any) -> None:
    response = models.GetModelStatus(status_request(version=1), timeout=30)
    assert [each.version for each in response.model_version_status] == [1]


@pytest.mark.parametrize("label", ["stable", "none"])
def test_status_ignores_labels(models: Any, label: str) -> None:
    """As TensorFlow Serving's get_model_status_impl.cc does, unlike other calls."""
    response = models.GetModelStatus(status_request(label=label), timeout=30)
    assert [each.version for each in response.model_version_status] == [3, 2, 1]


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (status_request("m"), "NOT_FOUND", "Could not find any versions of model m"),
        # Clients accept headers of up to 8 KiB.
        (
            status_request("m" * 20_000),
            "NOT_FOUND",
            f"Could not find any versions of model {'m' * 20_000}"[:1024] + "...TRUNCATED",
        ),
        (status_request(version=7), "NOT_FOUND", "Could not find version 7 of model toy"),
        (
            get_model_status_pb2.GetModelStatusRequest(),
            "INVALID_ARGUMENT",
            "Missing ModelSpec",
        ),
    ],
)
def test_status_errors(models: Any, request_: Any, code: str, details: str) -> None:
    assert failure(models.GetModelStatus, request_) == (code, details)
