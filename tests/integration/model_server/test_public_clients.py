"""Published clients, each in its own environment.

They contain message classes that are older than ours, generated from the official sources, and
conflict with TensorFlow. So each runs as a program in `public_clients/` and prints JSON.
"""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from rockstar_serving.model_server.server import ModelServer
from tests.environments import TRITONCLIENT, answers_of, environment
from tests.model_fixtures import SIDE, document, probabilities
from tfs_api.messages import open_inference_pb2

PROGRAMS = Path(__file__).parent / "public_clients"
# Newer protobufs reject their generated code.
REQUIREMENTS = {
    "min_tfs_client": ["min-tfs-client==1.0.2", "protobuf==3.20.3", "numpy", "setuptools<80"],
    "tensorflow_serving_client_grpc": [
        "tensorflow-serving-client-grpc==2.3.0",
        "protobuf==3.20.3",
        "setuptools<80",
    ],
    "ovmsclient": ["ovmsclient==2023.1"],
}


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of a client's environment."""
    return environment(request.config, f"client-{request.param}", REQUIREMENTS[request.param])


def run(python: Path, client: str, server: ModelServer, request: Any) -> Any:
    """The output of a client's program."""
    program = PROGRAMS / f"ask_{client}.py"
    return answers_of([python, program, server.grpc_address, server.rest_address], request)


@pytest.mark.parametrize(
    ("python", "client"),
    [(name, name) for name in ("min_tfs_client", "tensorflow_serving_client_grpc")],
    indirect=["python"],
)
def test_client(python: Path, client: str, server: ModelServer) -> None:
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 1), dtype=np.float32)
    answers = run(python, client, server, {"model": "toy", "images": images.tolist()})
    np.testing.assert_allclose(answers["probabilities"], probabilities(images), rtol=1e-5)
    assert answers["version"] == 2
    assert answers["contract of version 1"] == [document(1)]
    assert answers["error"] == ["NOT_FOUND", "Servable not found for request: Latest(nobody)"]
    assert answers.get("states", {"2": "AVAILABLE"})["2"] == "AVAILABLE"


@pytest.mark.parametrize("python", ["ovmsclient"], indirect=True)
def test_ovmsclient(python: Path, server: ModelServer) -> None:
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 1), dtype=np.float32)
    both = run(python, "ovmsclient", server, {"model": "toy", "images": images.tolist()})
    for answers in both.values():
        np.testing.assert_allclose(answers["probabilities"], probabilities(images), rtol=1e-5)
        available = {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
        assert answers["states"] == {"2": available}
        assert answers["error"].endswith("Servable not found for request: Specific(nobody, 2)")
    assert both["grpc"]["version"] == 2
    assert both["rest"]["version"]["version"] == "2"


def test_tritonclient(request: pytest.FixtureRequest, server: ModelServer) -> None:
    """The Open Inference Protocol over gRPC."""
    python = environment(request.config, "tritonclient", TRITONCLIENT)
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 1), dtype=np.float32)
    answers = run(python, "tritonclient_grpc", server, {"model": "toy", "images": images.tolist()})
    for name in ("probabilities", "gzip", "deflate"):
        np.testing.assert_allclose(answers[name], probabilities(images), rtol=1e-5)
    assert (answers["version"], answers["id"]) == (2, "seven")
    assert answers["contract of version 1"] == [document(1)]
    assert answers["ready"] == [True] * 4
    assert answers["nobody"] is False
    assert answers["server"]["name"] == "rockstartf"
    assert answers["metadata"] == {
        "name": "toy",
        "versions": ["2", "1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": ["-1", "4", "4", "1"]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "3"]}],
    }
    assert answers["config"]["input"][0]["data_type"] == "TYPE_FP32"
    assert [model["state"] for model in answers["index"]] == ["UNAVAILABLE", "READY", "READY"]
    assert answers["error"] == ["NOT_FOUND", "Servable not found for request: Latest(nobody)"]
    assert answers["statistics"][0] == "UNIMPLEMENTED"


# Prints the source files of the messages of Triton's client.
DESCRIPTORS = """
import sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

files = FileDescriptorSet()
for module in (model_config_pb2, service_pb2):
    module.DESCRIPTOR.CopyToProto(files.file.add())
sys.stdout.buffer.write(files.SerializeToString())
"""


def test_our_messages_are_tritons(request: pytest.FixtureRequest) -> None:
    python = environment(request.config, "tritonclient", TRITONCLIENT)
    done = subprocess.run([python, "-c", DESCRIPTORS], capture_output=True, check=True, timeout=60)
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(done.stdout).file:
        pool.AddSerializedFile(file.SerializeToString())

    def compare(ours: Any, theirs: Any) -> None:
        for field in ours.fields:
            other = theirs.fields_by_number[field.number]
            assert (field.name, field.type, field.is_packed, field.is_repeated) == (
                other.name,
                other.type,
                other.is_packed,
                other.is_repeated,
            ), f"{ours.full_name}.{field.name}"
            if field.message_type:
                compare(field.message_type, other.message_type)
            if field.enum_type:
                assert {value.name: value.number for value in field.enum_type.values} == {
                    value.name: value.number for value in other.enum_type.values
                }

    messages = open_inference_pb2.DESCRIPTOR.message_types_by_name
    assert messages
    for name, message in messages.items():
        compare(message, pool.FindMessageTypeByName(f"inference.{name}"))
