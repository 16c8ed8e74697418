"""Classify with our own exports and tf.Examples, on the embedded server with TensorFlow."""

import json
import urllib.request
import warnings
from typing import Any

import grpc
import numpy as np
import pytest

from rockstar_contract.contract import CONTRACT_FILE, Contract
from rockstar_contract.inputs import prepare
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import ServerOptions
from rockstar_serving.model_server.server import ModelServer
from rockstar_training.config import CLASSIFIERS
from tests.end_to_end.heldout import held_out

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow_serving.apis import (
        classification_pb2,
        predict_pb2,
        prediction_service_pb2_grpc,
    )


@pytest.fixture(scope="module")
def server(trained_models):
    models = trained_models.workdir / "models"
    configs = tuple(ModelConfig(name, models / name) for name in CLASSIFIERS)
    with ModelServer(ServerOptions(configs)) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(params=CLASSIFIERS)
def model(request):
    return request.param


@pytest.fixture
def contract(trained_models, model) -> Contract:
    return Contract.from_json((trained_models.results[model].folder / CONTRACT_FILE).read_text())


@pytest.fixture
def sample(trained_models, model, contract) -> tuple[Any, list[str]]:
    """Some of the held-out images as tensors, and their predictions in training."""
    files, predicted, _ = held_out(trained_models.workdir / "runs" / f"{model}-1")
    tensors = [prepare(file, contract.input, field="image") for file in files[::9]]
    return np.stack(tensors), predicted[::9]


def classify_request(model: str, name: str, tensors: Any) -> Any:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "classify"
    for tensor in tensors:
        example = request.input.example_list.examples.add()
        example.features.feature[name].float_list.value.extend(tensor.ravel())
    return request


def test_classify_returns_the_labels_and_probabilities_of_predict(stub, model, contract, sample):
    tensors, predicted = sample
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs[contract.input.name].CopyFrom(tf.make_tensor_proto(tensors))
    output = stub.Predict(request, timeout=60).outputs[contract.output]
    probabilities = tf.make_ndarray(output)

    request = classify_request(model, contract.input.name, tensors)
    result = stub.Classify(request, timeout=60).result.classifications
    labels = [[each.label for each in one.classes] for one in result]
    scores = [[each.score for each in one.classes] for one in result]
    assert labels == [list(contract.labels)] * len(tensors)
    np.testing.assert_allclose(scores, probabilities, atol=1e-6)
    assert [contract.labels[best] for best in np.argmax(scores, axis=1)] == predicted


def test_classify_over_rest(server, model, contract, sample):
    tensors, predicted = sample
    examples = [{contract.input.name: tensor.ravel().tolist()} for tensor in tensors]
    body = json.dumps({"signature_name": "classify", "examples": examples}).encode()
    url = f"http://{server.rest_address}/v1/models/{model}:classify"
    with urllib.request.urlopen(url, body, timeout=60) as response:
        results = json.load(response)["results"]
    assert [max(pairs, key=lambda pair: pair[1])[0] for pairs in results] == predicted
