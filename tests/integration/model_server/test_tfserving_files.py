"""The configuration files for TensorFlow Serving and the embedded server, read by the latter.

The images' tests read them unchanged; here models are in another folder than /models.
"""

import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from rockstar_client.backend import Query
from rockstar_client.tfserving import TFServingClient
from tests.integration.model_server.conftest import Start, ask
from tests.model_fixtures import SIDE, probabilities, write_version

FILES = Path(__file__).parents[3] / "serving" / "tfserving"
MODELS = ("logistic", "mlp", "cnn")


@pytest.fixture
def models_config(tmp_path: Path) -> Path:
    text = (FILES / "models.config").read_text()
    assert re.findall(r'base_path: "/models/(\w+)"', text) == list(MODELS)
    for model in MODELS:
        write_version(tmp_path / "models" / model, 1)
    config = tmp_path / "models.config"
    config.write_text(text.replace('"/models', f'"{tmp_path}/models'))
    return config


def test_serve_in_batches_and_are_measured(start: Start, models_config: Path) -> None:
    process = start(
        *("--port=auto", "--rest_api_port=auto", f"--model_config_file={models_config}"),
        f"--monitoring_config_file={FILES / 'monitoring.config'}",
        *("--enable_batching", f"--batching_parameters_file={FILES / 'batching.config'}"),
    )
    address = process.address()
    images = np.random.default_rng(1).random((256, SIDE, SIDE, 1), np.float32)
    with TFServingClient(address["grpc"]) as client:
        for model in MODELS:
            outputs = client.predict(Query(model, {"image": images})).outputs
            np.testing.assert_allclose(outputs["probabilities"], probabilities(images), rtol=1e-4)
    assert (
        ask(address["rest"], "/v1/models/cnn")[1]["model_version_status"][0]["state"] == "AVAILABLE"
    )
    url = f"http://{address['rest']}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        metrics = answer.read().decode()
    assert re.search(r':tensorflow:serving:request_count{.*model_name="mlp".*} 1', metrics)
    assert re.search(r":tensorflow:serving:batching_session:\w+{", metrics)
