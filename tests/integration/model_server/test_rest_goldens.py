"""The golden REST requests, sent to the embedded server and, where there is one, to TF Serving."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.model_server.models.config_file import read_config_file
from serving.model_server.options import (
    EngineOptions,
    GrpcOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
)
from serving.model_server.server import ModelServer
from tests import rest_cases

REAL = os.environ.get("ROCKSTAR_TFSERVING_REST", "")


@pytest.fixture(scope="module", params=["TensorFlow", "LiteRT"])
def address(golden_models: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    options = ServerOptions(
        read_config_file(golden_models),
        grpc=GrpcOptions(port=None),
        rest=RestOptions(cors=True),
        load=LoadOptions(allow_labels_for_unavailable=True),
        engine=EngineOptions(prefer_tflite=request.param == "LiteRT"),
    )
    with ModelServer(options) as server:
        yield server.rest_address or ""


@pytest.mark.parametrize("name", rest_cases.names())
def test_embedded_server(address: str, name: str) -> None:
    assert rest_cases.replay(name, address, embedded=True) == []


def test_what_is_said_to_differ_does(address: str) -> None:
    meant = {name for name in rest_cases.names() if rest_cases.differs(name)}
    found = {n for n in rest_cases.names() if rest_cases.replay(n, address, embedded=False)}
    assert found == meant


@pytest.mark.tfserving
@pytest.mark.skipif(not REAL, reason="set ROCKSTAR_TFSERVING_REST, see tests/replay_rest.py")
def test_tensorflow_serving() -> None:
    found = {name: rest_cases.replay(name, REAL, embedded=False) for name in rest_cases.names()}
    assert {name: differences for name, differences in found.items() if differences} == {}
