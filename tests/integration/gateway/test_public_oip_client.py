"""The Open Inference Protocol with published clients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.environments import TRITONCLIENT, answers_of, environment
from tests.integration.gateway.conftest import running
from tests.model_fixtures import SIDE, document, probabilities, write_version


@pytest.fixture
def address(tmp_path: Path, host: str) -> Iterator[str]:
    """The address of a gateway in front of a toy model."""
    write_version(tmp_path / "toy", 1)
    with ModelServer(ServerOptions((ModelConfig("toy", tmp_path / "toy"),))) as models:
        assert models.grpc_port is not None
        options = ("--model=toy", "--workers=1")
        with running(models.grpc_port, tmp_path / "log", *options, server=host) as gateway:
            yield gateway.url.removeprefix("http://")


def ask(python: Path, client: str, address: str, images: Any) -> Any:
    """The output of a client's program."""
    program = Path(__file__).with_name(f"ask_{client}.py")
    return answers_of([python, program, address], images.tolist())


def test_tritonclient(request: pytest.FixtureRequest, address: str) -> None:
    python = environment(request.config, "tritonclient", TRITONCLIENT)
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 1), dtype=np.float32)
    answers = ask(python, "tritonclient", address, images)
    assert [answers[name] for name in ("live", "ready", "model", "version")] == [True] * 4
    assert answers["nobody"] is False
    assert "binary_tensor_data" in answers["server"]["extensions"]
    assert answers["metadata"]["inputs"][0]["shape"] == [-1, SIDE, SIDE, 1]
    for name in ("binary True", "binary False", "gzip", "deflate"):
        np.testing.assert_allclose(answers[name], probabilities(images), rtol=1e-5)
    assert answers["id"] == "seven"
    assert answers["contract"] == [document(1)]
    assert "Servable not found" in answers["error"]


@pytest.mark.slow
def test_kserve(request: pytest.FixtureRequest, address: str) -> None:
    python = environment(request.config, "kserve-client", ["kserve==0.21.0"])
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 1), dtype=np.float32)
    answers = ask(python, "kserve", address, images)
    assert [answers[name] for name in ("live", "ready", "model", "nobody")] == [True] * 3 + [False]
    for name in ("binary True", "binary False", "v1"):
        np.testing.assert_allclose(
            np.reshape(answers[name], (2, -1)), probabilities(images), rtol=1e-5
        )
    assert answers["id"] == "seven"
    status, message = answers["error"]
    assert status == 404
    assert message.startswith("Servable not found for request: Latest(nobody)")
