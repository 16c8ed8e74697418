"""Reloading the configuration: by request, through the official stubs, and by file."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import LoadOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.grpc_calls import failure
from tests.integration.model_server.conftest import Start, ask
from tests.model_fixtures import document, write_version
from tests.waiting import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
    )

State = get_model_status_pb2.ModelVersionStatus.State
Configure = Callable[..., Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    for name in "ab":
        for version in (1, 2):
            write_version(tmp_path / name, version)
    config = ModelConfig("a", tmp_path / "a")
    with ModelServer(ServerOptions((config,), load=LoadOptions(settle_seconds=0))) as server:
        yield server


@pytest.fixture
def stub(server: ModelServer) -> Iterator[Any]:
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        yield model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture
def request_for(tmp_path: Path) -> Configure:
    def request_for(*names: str, **fields: Any) -> Any:
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        for name in names:
            entry = request.config.model_config_list.config.add(name=name, **fields)
            entry.base_path = entry.base_path or str(tmp_path / name)
            entry.model_platform = entry.model_platform or "tensorflow"
        return request

    return request_for


def answer(server: ModelServer, which: str) -> str | int:
    """The contents of a model's contract, or the HTTP status of an error."""
    body = {"signature_name": "contract", "instances": [0]}
    status, answer = ask(server.rest_address, f"/v1/models/{which}:predict", body)
    return answer["predictions"][0] if status == 200 else status


def states(stub: Any, name: str) -> dict[int, str]:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    answer = stub.GetModelStatus(request, timeout=30)
    return {each.version: State.Name(each.state) for each in answer.model_version_status}


def test_reload_waits_for_a_model_that_is_not_there_yet(
    server: ModelServer, stub: Any, request_for: Configure, tmp_path: Path
) -> None:
    """As in TensorFlow Serving, while the caller waits."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.HandleReloadConfigRequest(request_for("a", "late"), timeout=0.1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    stub.HandleReloadConfigRequest(request_for("a"), timeout=30)
    waiting = stub.HandleReloadConfigRequest.future(request_for("a", "late"), timeout=30)
    write_version(tmp_path / "late", 1)
    assert waiting.result().status.error_code == 0
    assert (answer(server, "a"), answer(server, "late")) == (document(2), document(1))


def test_reload(server: ModelServer, stub: Any, request_for: Configure) -> None:
    assert (answer(server, "a"), answer(server, "b")) == (document(2), 404)
    response = stub.HandleReloadConfigRequest(request_for("a", "b"), timeout=30)
    assert response.HasField("status")
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert (answer(server, "a"), answer(server, "b")) == (document(2), document(2))
    stub.HandleReloadConfigRequest(request_for("b"), timeout=30)
    until(lambda: answer(server, "a") == 404, what="the other one goes")
    until(lambda: states(stub, "a") == {2: "END"}, what="its state is told all the same")
    stub.HandleReloadConfigRequest(request_for(), timeout=30)
    until(lambda: answer(server, "b") == 404, what="none is left")
    stub.HandleReloadConfigRequest(request_for("a"), timeout=30)
    assert answer(server, "a") == document(2)


def test_a_swapped_link_is_followed(server: ModelServer, tmp_path: Path) -> None:
    """Swap a link by one rename, like `current`, git-sync and Kubernetes' `..data`."""
    (tmp_path / "a").rename(tmp_path / "revision")
    (tmp_path / "a").symlink_to("revision")
    write_version(tmp_path / "other" / "a", 5)
    (tmp_path / "next").symlink_to("other/a")
    (tmp_path / "next").replace(tmp_path / "a")
    until(lambda: answer(server, "a") == document(5), what="version 5")


def test_asking_for_metrics(stub: Any, request_for: Configure) -> None:
    request = request_for("a")
    request.metric_names.extend(["/one", "/another", "/one"])
    response = stub.HandleReloadConfigRequest(request, timeout=30)
    assert [(m.name, m.int64_value_increase) for m in response.metric] == [
        ("/another", 0),
        ("/one", 0),
    ]


def test_a_rejected_configuration_changes_nothing(
    server: ModelServer, stub: Any, request_for: Configure
) -> None:
    code, details = refused(stub, request_for("a", model_platform="onnx"))
    assert code == "INVALID_ARGUMENT"
    assert details.startswith("Model a requests unsupported platform onnx")
    assert answer(server, "a") == document(2)


def test_models_listed_twice_and_other_configurations(stub: Any, request_for: Configure) -> None:
    assert refused(stub, request_for("a", "a")) == (
        "INVALID_ARGUMENT",
        "Illegal to list model a multiple times in config list",
    )
    unsupported = (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. "
        "Only ModelConfigList is currently supported",
    )
    request = model_management_pb2.ReloadConfigRequest()
    assert refused(stub, request) == unsupported
    request.config.custom_model_config.SetInParent()
    assert refused(stub, request) == unsupported


def refused(stub: Any, request: Any) -> tuple[str, str]:
    return failure(stub.HandleReloadConfigRequest, request)


def test_a_file_that_changes(start: Start, tmp_path: Path) -> None:
    """A process that starts without models, and adds, changes and removes them with the file."""
    write_version(tmp_path / "a", 1)
    config = tmp_path / "models.config"
    config.write_text("model_config_list {}")
    process = start(
        *(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=0.05"),
        *("--port=0", "--rest_api_port=auto", "--file_system_poll_wait_seconds=0.05"),
    )
    rest = process.address()["rest"]

    def status() -> int:
        return ask(rest, "/v1/models/a/versions/1")[0]

    assert status() == 404
    entry = f'config {{ name: "a" base_path: "{tmp_path}/a" model_platform: "tensorflow" }}'
    config.write_text(f"model_config_list {{ {entry} }}")
    until(lambda: status() == 200, what="the model of the new file")
    config.write_text("model_config_list {}")
    until(lambda: ask(rest, "/v1/models/a")[1]["model_version_status"][0]["state"] == "END")
