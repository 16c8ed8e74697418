"""The whole path in one process: a trained model, the model server, the gateway."""

import logging
from pathlib import Path

import numpy as np
import pytest

from rockstar_client.grpc import GrpcClient
from rockstar_client.tfserving import TFServingClient
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.model_server.engines.engine import ServableId
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from rockstar_training.config import CLASSIFIERS
from rockstar_training.datasets import load
from tests.end_to_end.heldout import held_out
from tests.images import encoded, png

LITERT = EngineOptions(prefer_tflite=True)
IMAGE = png(load("digits").images[0, :, :, 0])


def predict(http, data=IMAGE, path="/predict/cnn", content_type="image/png"):
    return http.post(path, data=data, content_type=content_type)


@pytest.fixture(scope="module", params=[True, False], ids=["LiteRT", "TensorFlow"])
def model_server(trained_models, request):
    models = tuple(
        ModelConfig(name, trained_models.workdir / "models" / name) for name in CLASSIFIERS
    )
    options = ServerOptions(models, engine=EngineOptions(prefer_tflite=request.param))
    with ModelServer(options) as server:
        yield server


@pytest.fixture
def http(model_server):
    with TFServingClient(model_server.grpc_address) as upstream:
        config = GatewayConfig(upstream=model_server.grpc_address, models=CLASSIFIERS)
        yield create_app(config, upstream).test_client()


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_answers_are_those_of_training(http, trained_models, model):
    files, predicted, scores = held_out(trained_models.workdir / "runs" / f"{model}-1")
    for index in range(0, len(files), 7):
        # Without the model's threshold.
        response = predict(http, files[index], f"/predict/{model}?threshold=0")
        (prediction,) = response.get_json()["predictions"]
        assert prediction["label"] == predicted[index]
        assert prediction["score"] == pytest.approx(scores[index], abs=1e-4)


def test_labels_and_input_come_from_the_contract(http):
    (model, *_) = http.get("/v1/models").get_json()["models"]
    assert model["labels"] == list("0123456789")
    assert model["versions"] == [{"version": 1, "state": "AVAILABLE"}]
    counts = np.array(model["confusion"])
    assert counts.sum() == 360
    assert counts.trace() / 360 == pytest.approx(model["metrics"]["test_accuracy"])
    assert http.get("/readyz").status_code == 200


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_ink_on_white_paper_is_the_same_digit_as_white_on_black(http, model):
    digits = load("digits").images[:50, :, :, 0]
    for pixels in digits:
        answers = [
            predict(http, data, f"/predict/{model}").get_json()
            for data in (png(pixels), png(255 - pixels))
        ]
        first, second = (answer["predictions"][0] for answer in answers)
        assert first["top"][0]["label"] == second["top"][0]["label"]
        assert first["score"] == pytest.approx(second["score"], abs=1e-3)


def test_a_photo_of_ink_on_paper_is_the_same_digit(http):
    """Larger, with gray ink, uneven light and grain, as JPEG."""
    generator = np.random.default_rng(0)
    labels = load("digits").labels[:40]
    right = 0
    for pixels, label in zip(load("digits").images[:40, :, :, 0], labels, strict=True):
        large = np.kron(np.pad(pixels, 2), np.ones((20, 20)))
        light = np.linspace(200, 240, large.shape[1])[np.newaxis]
        photo = light - large * (140 / 255) + generator.normal(0, 3, large.shape)
        data = encoded(photo.clip(0, 255).astype(np.uint8), "JPEG")
        response = predict(http, data, "/predict/cnn?threshold=0", "image/jpeg")
        right += response.get_json()["predictions"][0]["label"] == str(label)
    assert right >= 34


def test_a_renamed_version_folder_is_known_by_its_new_number(trained_models, tmp_path):
    base: Path = tmp_path / "cnn"
    base.mkdir()
    (base / "7").symlink_to(trained_models.workdir / "models" / "cnn" / "1")
    with (
        ModelServer(ServerOptions((ModelConfig("cnn", base),), engine=LITERT)) as server,
        GrpcClient(server.grpc_address) as client,
    ):
        files, predicted, _ = held_out(trained_models.workdir / "runs" / "cnn-1")
        answer = client.predict("cnn", files[0])
        assert (answer.version, answer.predictions[0].label) == (7, predicted[0])


@pytest.mark.parametrize("engine", ["LiteRT", "TensorFlow"])
def test_trained_models_are_warmed_up(trained_models, engine, caplog):
    """The embedded server replays the warmup requests that training writes."""
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
