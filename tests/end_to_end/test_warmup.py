"""What training writes as warmup requests, the embedded server replays."""

import logging

import pytest

from rockstar_serving.model_server.engines.engine import ServableId
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from tests.conftest import TrainedModels


@pytest.mark.parametrize("engine", ["LiteRT", "TensorFlow"])
def test_trained_models_are_warmed_up(
    trained_models: TrainedModels, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = ServerOptions(models=(), engine=EngineOptions(prefer_tflite=engine == "LiteRT"))
    for name, result in trained_models.results.items():
        caplog.clear()
        loaded = VersionLoader(options)(ServableId(name, 1), result.folder)
        assert loaded.name == engine
        loaded.close()
        (message,) = [record.getMessage() for record in caplog.records]
        # Batches of 1, 2, 4, 8, 16 and 32, and the contract.
        assert message.startswith(f"model {name} version 1: warmed up with 7 requests in ")
