"""Node's own gRPC packages with the official messages, against the embedded server.

Node gets the messages of the package tensorflow-serving-api as a FileDescriptorSet.
"""

import base64
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.options import GrpcOptions, RestOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.environments import answers_of, node_packages
from tests.fake_engine import FakeLoader
from tests.integration.model_server.conftest import fake_server
from tests.model_fixtures import SIDE, document, probabilities, write_version
from tfs_api import services

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        predict_pb2,
        regression_pb2,
    )

PREDICTION, MODEL = services.PREDICTION_SERVICE, services.MODEL_SERVICE
HEALTH = "grpc.health.v1.Health"
PROGRAM = Path(__file__).parents[2] / "node" / "call.mjs"
OFFICIAL = [
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
]

Ask = Callable[..., list[dict[str, Any]]]


def official_descriptors() -> bytes:
    """A FileDescriptorSet of the official messages, and the services over them."""
    files: dict[str, FileDescriptorProto] = {}

    def add(file: Any) -> None:
        for imported in file.dependencies:
            add(imported)
        if file.name not in files:
            file.CopyToProto(files.setdefault(file.name, FileDescriptorProto()))

    for module in OFFICIAL:
        add(module.DESCRIPTOR)
    # Current protobuf cannot import the package's prediction_service_pb2.
    proto = FileDescriptorProto(
        name="services.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in OFFICIAL],
    )
    for full_name in (PREDICTION, MODEL):
        service = proto.service.add(name=full_name.rpartition(".")[2])
        for method in services.methods():
            if method.service == full_name:
                service.method.add(
                    name=method.name,
                    input_type=f".tensorflow.serving.{method.request.DESCRIPTOR.name}",
                    output_type=f".tensorflow.serving.{method.response.DESCRIPTOR.name}",
                )
    return FileDescriptorSet(file=[*files.values(), proto]).SerializeToString()


@pytest.fixture(scope="module")
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Calls a server from Node; each call is a service, a method and a request."""
    packages = node_packages(request.config)
    folder = tmp_path_factory.mktemp("node")
    # Node searches packages beside the program.
    (folder / "node_modules").symlink_to(packages)
    shutil.copy(PROGRAM, folder)
    (folder / "official.pb").write_bytes(official_descriptors())

    def ask(server: ModelServer, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        program = ["node", PROGRAM.name, server.grpc_address, "official.pb"]
        answers: list[dict[str, Any]] = answers_of(program, calls, folder)
        return answers

    return ask


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base_path = tmp_path_factory.mktemp("models") / "toy"
    for version in (1, 2):
        write_version(base_path, version)
    options = ServerOptions(
        (ModelConfig("toy", base_path, All()),), grpc=GrpcOptions(health=True), rest=RestOptions()
    )
    with ModelServer(options) as server:
        yield server


def spec(name: str = "toy", **choice: Any) -> dict[str, Any]:
    return {"model_spec": {"name": name, **choice}}


def images_tensor(images: np.ndarray, *, content: bool) -> dict[str, Any]:
    values = (
        {"tensor_content": base64.b64encode(images.astype("<f4").tobytes()).decode()}
        if content
        else {"float_val": images.flatten().tolist()}
    )
    dims = [{"size": size} for size in images.shape]
    return {"dtype": "DT_FLOAT", "tensor_shape": {"dim": dims}, **values}


def entries(**inputs: Any) -> dict[str, Any]:
    """Inputs for Node, whose descriptors represent a map as a list of entries."""
    return {"inputs": [{"key": name, "value": value} for name, value in inputs.items()]}


def entry(listed: list[dict[str, Any]], name: str) -> Any:
    """The value of a key in such a list."""
    return {each["key"]: each["value"] for each in listed}[name]


def predict(request: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"service": PREDICTION, "method": "Predict", "request": request, **more}


@pytest.mark.parametrize("content", [True, False])
def test_tensors(ask: Ask, server: ModelServer, content: bool) -> None:
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 1), dtype=np.float32)
    request = spec() | entries(image=images_tensor(images, content=content))
    (said,) = ask(server, predict(request))
    answer = said["answer"]
    output = entry(answer["outputs"], "probabilities")
    shape = [dim["size"] for dim in output["tensor_shape"]["dim"]]
    np.testing.assert_allclose(
        np.reshape(output["float_val"], shape), probabilities(images), rtol=1e-5
    )
    assert answer["model_spec"]["version"] == {"value": 2}


def test_the_contract_of_a_version(ask: Ask, server: ModelServer) -> None:
    query = {"dtype": "DT_INT32", "tensor_shape": {"dim": [{"size": 1}]}, "int_val": [0]}
    model = spec(version={"value": 1}, signature_name="contract")
    (said,) = ask(server, predict(model | entries(query=query)))
    output = entry(said["answer"]["outputs"], "contract")
    assert [base64.b64decode(each).decode() for each in output["string_val"]] == [document(1)]
    assert output["dtype"] == "DT_STRING"


def test_status_and_metadata(ask: Ask, server: ModelServer) -> None:
    status, metadata = ask(
        server,
        {"service": MODEL, "method": "GetModelStatus", "request": spec()},
        {
            "service": PREDICTION,
            "method": "GetModelMetadata",
            "request": spec() | {"metadata_field": ["signature_def"]},
        },
    )
    states = status["answer"]["model_version_status"]
    assert {each["version"]: each["state"] for each in states} == {1: "AVAILABLE", 2: "AVAILABLE"}
    packed = base64.b64decode(entry(metadata["answer"]["metadata"], "signature_def")["value"])
    signatures = get_model_metadata_pb2.SignatureDefMap.FromString(packed).signature_def
    dims = signatures["serving_default"].inputs["image"].tensor_shape.dim
    assert [dim.size for dim in dims] == [-1, SIDE, SIDE, 1]


def test_health(ask: Ask, server: ModelServer) -> None:
    check = {"service": HEALTH, "method": "check"}
    whole, one, nobody = ask(
        server, *({**check, "request": {"service": name}} for name in ("", PREDICTION, "nobody"))
    )
    assert whole["answer"]["status"] == one["answer"]["status"] == "SERVING"
    assert nobody["code"] == "NOT_FOUND"


def test_errors_have_their_names(ask: Ask, server: ModelServer) -> None:
    wrong = images_tensor(np.zeros((1, SIDE), np.float32), content=True)
    unknown_model, unknown_signature, wrong_shape = ask(
        server,
        predict(spec("nobody")),
        predict(spec(signature_name="nothing")),
        predict(spec() | entries(image=wrong)),
    )
    assert unknown_model == {
        "code": "NOT_FOUND",
        "details": "Servable not found for request: Latest(nobody)",
    }
    assert unknown_signature["code"] == "FAILED_PRECONDITION"
    assert "nothing" in unknown_signature["details"]
    assert wrong_shape["code"] == "INVALID_ARGUMENT"


def test_a_deadline_that_passes_while_the_model_works(
    ask: Ask, tmp_path: Path, loader: FakeLoader
) -> None:
    tensor = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": 1}, {"size": 2}]}}
    request = spec("slow") | entries(x=tensor | {"float_val": [1, 2]})
    with fake_server(tmp_path, loader, model="slow") as server:
        loader.engines[1].proceed.clear()
        try:
            (said,) = ask(server, predict(request, milliseconds=2_000))
        finally:
            loader.engines[1].proceed.set()
        assert said["code"] == "DEADLINE_EXCEEDED"
        assert loader.engines[1].entered.is_set()
        (said,) = ask(server, predict(request))
        assert entry(said["answer"]["outputs"], "y")["float_val"] == [2, 4]
