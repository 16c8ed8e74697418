"""gRPC reflection, with its public client."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import GrpcOptions, RestOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.environments import answers_of, environment
from tests.model_fixtures import SIDE, probabilities, write_version

SERVICES = (
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "inference.GRPCInferenceService",
)


def new_server(folder: Path) -> ModelServer:
    write_version(folder / "toy", 1)
    options = ServerOptions(
        models=(ModelConfig("toy", folder / "toy"),),
        grpc=GrpcOptions(health=True, reflection=True),
        rest=RestOptions(port=None),
    )
    return ModelServer(options)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    with new_server(tmp_path_factory.mktemp("models")) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        yield channel


@pytest.fixture(scope="module")
def database(channel: grpc.Channel) -> Any:
    return ProtoReflectionDescriptorDatabase(channel)


@pytest.fixture(scope="module")
def pool(database: Any) -> DescriptorPool:
    return DescriptorPool(database)


def call(channel: grpc.Channel, pool: DescriptorPool, method: str, **fields: Any) -> Any:
    """Call a method by name with a request in JSON, like grpcurl."""
    descriptor: Any = pool.FindMethodByName(method)
    request = ParseDict(fields, GetMessageClass(descriptor.input_type)())
    path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
    stub: Any = channel.unary_unary(
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(descriptor.output_type).FromString,
    )
    return stub(request, timeout=30)


def test_services_are_listed(database: Any) -> None:
    assert set(database.get_services()) == {
        *SERVICES,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_method_that_is_listed_is_there(
    channel: grpc.Channel, pool: DescriptorPool, service: str
) -> None:
    descriptor = pool.FindServiceByName(service)
    assert descriptor.methods
    for method in descriptor.methods:
        try:
            call(channel, pool, method.full_name)
        except grpc.RpcError as caught:
            error: Any = caught
            assert error.code() != grpc.StatusCode.UNIMPLEMENTED, method.full_name


def test_open_inference(channel: grpc.Channel, pool: DescriptorPool) -> None:
    image = np.random.default_rng(5).random((1, SIDE, SIDE, 1), np.float32)
    tensor = {
        "name": "image",
        "datatype": "FP32",
        "shape": list(image.shape),
        "contents": {"fp32Contents": image.ravel().tolist()},
    }
    method = "inference.GRPCInferenceService.ModelInfer"
    response = call(channel, pool, method, modelName="toy", inputs=[tensor])
    assert response.DESCRIPTOR.full_name == "inference.ModelInferResponse"
    (output,) = response.outputs
    np.testing.assert_allclose(output.contents.fp32_contents, probabilities(image)[0], rtol=1e-5)


def test_a_client_that_stays_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    requests: SimpleQueue[Any] = SimpleQueue()
    requests.put(reflection_pb2.ServerReflectionRequest(list_services=""))
    server = new_server(tmp_path)
    server.start()
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(iter(requests.get, None), timeout=60)
        assert next(answers).list_services_response.service
        assert server.stop(grace=60)
        with pytest.raises(grpc.RpcError):
            next(answers)
        requests.put(None)


def test_grpc_requests(request: pytest.FixtureRequest, server: ModelServer) -> None:
    python = environment(request.config, "grpc-requests", ["grpc-requests==0.1.21"])
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 1), dtype=np.float32)
    program = Path(__file__).parent / "public_clients" / "ask_grpc_requests.py"
    request_ = {"model": "toy", "images": images.tolist()}
    answers = answers_of([python, program, server.grpc_address], request_)
    assert set(SERVICES) < set(answers["services"])
    expected = probabilities(images).ravel()
    np.testing.assert_allclose(answers["probabilities"], expected, rtol=1e-5)
    assert answers["signatures"] == ["contract", "serving_default"]
    assert answers["states"] == {"1": "AVAILABLE"}
    assert answers["error"] == ["NOT_FOUND", "Servable not found for request: Latest(nobody)"]
