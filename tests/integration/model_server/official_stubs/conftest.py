"""The embedded server with three models, and TensorFlow Serving's official client stubs for it.

The models are `toy` in LiteRT, `flowers`, a SavedModel of TensorFlow 1 (make_tf1), and `shapes`, one
of TensorFlow 2 (make_shapes).
"""

import warnings
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.options import LoadOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.model_fixtures import write_version
from tests.saved_models import SavedModels, make_shapes, make_tf1

with warnings.catch_warnings():
    # TensorFlow's own warnings; these imports cover those of the tests in this folder.
    warnings.simplefilter("ignore")
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc


@pytest.fixture(scope="package")
def configs(
    tmp_path_factory: pytest.TempPathFactory, saved_models: SavedModels
) -> tuple[ModelConfig, ...]:
    toys = tmp_path_factory.mktemp("models") / "toy"
    for version in (1, 2):
        write_version(toys, version)
    write_version(toys, 3, b"\0\0\0\0TFL3 but nothing more")
    return (
        ModelConfig("toy", toys, All(), {"stable": 1}),
        ModelConfig("flowers", saved_models.version(make_tf1).parent),
        ModelConfig("shapes", saved_models.version(make_shapes).parent),
    )


@pytest.fixture(scope="package")
def server(configs: tuple[ModelConfig, ...]) -> Iterator[ModelServer]:
    labels = LoadOptions(allow_labels_for_unavailable=True)
    with ModelServer(ServerOptions(configs, load=labels)) as server:
        yield server


@pytest.fixture(scope="package")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        yield channel


@pytest.fixture(scope="package")
def prediction(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="package")
def models(channel: grpc.Channel) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(channel)
