"""The gRPC clients against a server of TensorFlow Serving's official messages."""

import asyncio
import warnings
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from rockstar_client import AsyncGrpcClient, GrpcClient, NotFoundError
from tests.contracts import LABELS, make_contract
from tests.images import png, stroke

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

IMAGE = png(stroke())


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Returns the sum of each image as the probability of the first label."""

    def Predict(self, request, context):  # noqa: N802
        spec = request.model_spec
        if spec.name != "toy" or spec.version_label not in ("", "stable"):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {spec.name}")
        response = predict_pb2.PredictResponse()
        response.model_spec.name = "toy"
        response.model_spec.version.value = 3 if spec.version_label else 7
        if spec.signature_name == "contract":
            document = tf.make_tensor_proto([make_contract().to_json()])
            response.outputs["contract"].CopyFrom(document)
            return response
        images = tf.make_ndarray(request.inputs["image"])
        assert (images.dtype, images.shape[1:]) == (np.float32, (8, 8, 1))
        share = images.mean(axis=(1, 2, 3))[:, np.newaxis]
        probabilities = np.concatenate([share, (1 - share) / 3 * np.ones((1, 3))], axis=1)
        response.outputs["probabilities"].CopyFrom(
            tf.make_tensor_proto(probabilities.astype(np.float32))
        )
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name in ("serving_default", "contract"):
            signatures.signature_def[name].method_name = "tensorflow/serving/predict"
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = "toy"
        response.model_spec.version.value = 7
        response.metadata["signature_def"].Pack(signatures)
        return response


class Models(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """Serves versions 7 and 3."""

    def GetModelStatus(self, request, context):  # noqa: N802
        response = get_model_status_pb2.GetModelStatusResponse()
        if request.model_spec.name != "toy":
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
        for version in (3, 7):
            response.model_version_status.add(version=version, state=30)
        return response


@pytest.fixture(scope="module")
def address():
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


def ask(address, models, call):
    """The result of a blocking client, which must equal an asynchronous one's."""

    async def awaited():
        async with AsyncGrpcClient(address, models=models) as client:
            return await call(client)

    with GrpcClient(address, models=models) as client:
        answer = call(client)
    assert asyncio.run(awaited()) == answer
    return answer


def test_predictions(address):
    array = np.full((8, 8, 1), 0.5)
    answer = ask(address, (), lambda client: client.predict("toy", [IMAGE, array], top=1))
    assert (answer.version, answer.labels) == (7, LABELS)
    np.testing.assert_allclose(answer.probabilities[1], [0.5, 1 / 6, 1 / 6, 1 / 6], rtol=1e-6)
    assert [each.label for each in answer.predictions][1] == "zero"
    labeled = ask(address, (), lambda client: client.predict("toy", array, label="stable"))
    assert labeled.version == 3


def test_models_that_are_named(address):
    toy, nose = ask(address, ["toy", "nose"], lambda client: client.models())
    assert [(each.version, each.state) for each in toy.versions] == [
        (7, "AVAILABLE"),
        (3, "AVAILABLE"),
    ]
    assert (toy.available, toy.task, toy.labels) == (True, "classification", LABELS)
    assert (nose.available, nose.versions, nose.task) == (False, (), None)


def test_metadata(address):
    metadata = ask(address, (), lambda client: client.metadata("toy"))
    assert (metadata.model, metadata.version) == ("toy", 7)
    assert set(metadata.signatures) == {"serving_default", "contract"}
    assert metadata.contract.labels == LABELS
    assert metadata.contract.input.preprocessing


def test_ready(address):
    assert ask(address, ["toy"], lambda client: client.ready())
    assert not ask(address, ["toy", "nose"], lambda client: client.ready())
    assert ask(address, (), lambda client: client.ready())


def test_a_model_that_is_not_there(address):
    with GrpcClient(address) as client, pytest.raises(NotFoundError, match="nose"):
        client.predict("nose", IMAGE)
