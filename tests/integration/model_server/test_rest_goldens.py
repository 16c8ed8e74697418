"""The golden REST requests, and the tool that compares two servers, with embedded servers.

They share the models, which are slow to create.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from rockstar_serving.model_server.models.config import read_config_file
from rockstar_serving.model_server.options import (
    ANY_PORT,
    EngineOptions,
    GrpcOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
)
from rockstar_serving.model_server.server import ModelServer
from tests import rest_cases, rest_models
from tests.tfserving_diff.__main__ import main
from tests.tfserving_diff.compare import INTENDED, differences, intended
from tests.tfserving_diff.requests import golden
from tests.tfserving_diff.servers import (
    Reply,
    Server,
)

ROOT = Path(__file__).parents[3]


def serve(
    config: Path, *, prefer_tflite: bool = True, ports: Sequence[int] = (ANY_PORT, ANY_PORT)
) -> ModelServer:
    return ModelServer(
        ServerOptions(
            read_config_file(config),
            grpc=GrpcOptions(port=ports[0]),
            rest=RestOptions(port=ports[1], cors=True),
            load=LoadOptions(allow_labels_for_unavailable=True),
            engine=EngineOptions(prefer_tflite=prefer_tflite),
        )
    )


@pytest.fixture(scope="module", params=["TensorFlow", "LiteRT"])
def address(golden_models: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with serve(golden_models, prefer_tflite=request.param == "LiteRT") as server:
        yield server.rest_address or ""


@pytest.mark.parametrize("name", rest_cases.names())
def test_embedded_server(address: str, name: str) -> None:
    assert rest_cases.replay(name, address, embedded=True) == []


def test_declared_differences_exist(address: str) -> None:
    meant = {name for name in rest_cases.names() if rest_cases.differs(name)}
    found = {n for n in rest_cases.names() if rest_cases.replay(n, address, embedded=False)}
    assert found == meant


def test_differences_are_documented(address: str) -> None:
    """The docs give a reason for each difference that a golden file expects."""
    rules = intended()
    for name, request in golden():
        expected = rest_cases.read(name).answer
        if expected.anything or not rest_cases.differs(name):
            continue
        document = None if expected.json is msgspec.UNSET else expected.json
        left = Reply(str(expected.status), expected.error or "", document)
        with Server(address, None) as server:
            right = msgspec.structs.replace(server.ask(request), headers={})
        found = differences(request, left, right)
        assert found, name
        for difference in found:
            assert any(rule.covers(difference) for rule in rules), difference


@pytest.fixture(scope="module")
def server(golden_models: Path) -> Iterator[ModelServer]:
    with serve(golden_models) as server:
        yield server


def url(server: ModelServer) -> str:
    return f"http://{server.rest_address},grpc://{server.grpc_address}"


def test_the_command_reports_another_model(
    server: ModelServer, golden_models: Path, tmp_path: Path
) -> None:
    """Version 1 of one server is version 2 of the other."""
    (tmp_path / "swapped").mkdir()
    for version_, other in ((1, 2), (2, 1)):
        source = golden_models.parent / "half_plus" / str(other)
        (tmp_path / "swapped" / str(version_)).symlink_to(source)
    config = tmp_path / "models.config"
    config.write_text(rest_models.config_text(str(tmp_path), {"half_plus": "swapped"}))
    options = ["--requests", "20", "--only", "Predict", "--json", str(tmp_path / "report.json")]
    with serve(config) as swapped:
        done = CliRunner().invoke(main, ["--left", url(server), "--right", url(swapped), *options])
    assert done.exit_code == 1, done.output
    assert "Predict: values" in done.output
    report = json.loads((tmp_path / "report.json").read_text())
    (values,) = [each for each in report["differences"] if each["aspect"] == "values"]
    assert values["left"].startswith("body.outputs.y.float_val[0]: 4.0")
    assert values["right"].startswith("body.outputs.y.float_val[0]: 3.0")
    assert values["count"] > 1


def test_the_command_on_the_same_server(server: ModelServer) -> None:
    done = CliRunner().invoke(
        main, ["--left", url(server), "--right", url(server), "--requests", "5"]
    )
    assert done.exit_code == 0, done.output
    assert "golden" in done.output


def test_intended_differences_are_documented() -> None:
    text = (ROOT / "docs" / "model-server.md").read_text()
    section = " ".join(text.partition("## Differences from TensorFlow Serving")[2].split())
    assert [rule.docs for rule in intended() if rule.docs not in section] == [], INTENDED
