"""ModelService: GetModelStatus and HandleReloadConfigRequest."""

from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from rockstar_serving.model_server.options import ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.grpc_calls import failure
from tests.integration.model_server.official_stubs.calls import (
    IMAGES,
    predict_request,
    spec_of,
)
from tests.waiting import until


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
        # Clients take headers of 8 KiB.
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


def reload_request(*models: tuple[str, Any]) -> Any:
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for name, base_path in models:
        config = request.config.model_config_list.config.add()
        config.name, config.base_path, config.model_platform = name, str(base_path), "tensorflow"
    return request


def test_reload_config_replaces_the_whole_set(configs: Any) -> None:
    toys = configs[0].base_path
    with (
        ModelServer(ServerOptions(configs[1:2])) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        response = models.HandleReloadConfigRequest(reload_request(("toys", toys)), timeout=30)
        assert (response.status.error_code, response.status.error_message) == (0, "")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(predict_request(name="toys", image=IMAGES), timeout=30)
        assert answer.model_spec.version.value == 2
        assert failure(models.GetModelStatus, status_request("nobody"))[0] == "NOT_FOUND"
        # What is no longer asked for is unloaded behind the answer.
        until(lambda: refused(stub, "flowers"), what="flowers are gone")


def refused(stub: Any, model: str) -> bool:
    request = predict_request(name=model, x=np.zeros((1, 2), np.float32))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=30)
    error: Any = caught.value
    return bool(error.details() == f"Servable not found for request: Latest({model})")


def test_reload_config_errors(models: Any) -> None:
    empty = model_management_pb2.ReloadConfigRequest()
    assert failure(models.HandleReloadConfigRequest, empty)[0] == "INVALID_ARGUMENT"
    relative = reload_request(("m", "not/absolute"))
    assert failure(models.HandleReloadConfigRequest, relative)[0] == "INVALID_ARGUMENT"
