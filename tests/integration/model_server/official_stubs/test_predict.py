"""Predict."""

from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.grpc_calls import failure
from tests.integration.model_server.official_stubs.calls import IMAGES, predict_request
from tests.model_fixtures import CLASSES, SIDE, document, probabilities

QUERY = np.zeros(1, np.int32)


def test_predict(prediction: Any) -> None:
    response = prediction.Predict(predict_request(image=IMAGES), timeout=30)
    assert set(response.outputs) == {"probabilities"}
    answer = response.outputs["probabilities"]
    np.testing.assert_allclose(tf.make_ndarray(answer), probabilities(IMAGES), rtol=1e-5)
    assert len(answer.float_val) == 2 * CLASSES  # a typed field, as TensorFlow Serving returns
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 2, "serving_default")


def test_the_model_decides_which_shapes_it_takes(prediction: Any) -> None:
    response = prediction.Predict(predict_request(image=IMAGES[..., 0]), timeout=30)
    answer = tf.make_ndarray(response.outputs["probabilities"])
    np.testing.assert_allclose(answer, probabilities(IMAGES), rtol=1e-5)
    refused = failure(prediction.Predict, predict_request(image=IMAGES[:, 1:]))
    assert refused[0] == "INVALID_ARGUMENT"
    declared = f"[?, {SIDE}, {SIDE}, 1]"
    sent = f"image: float32 of shape [2, {SIDE - 1}, {SIDE}, 1], declared {declared}"
    assert f"({sent})" in refused[1]


@pytest.mark.parametrize(("which", "version"), [({"version": 1}, 1), ({"label": "stable"}, 1)])
def test_predict_with_a_version(prediction: Any, which: dict[str, Any], version: int) -> None:
    request = predict_request("contract", query=QUERY, fetches=("contract",), **which)
    response = prediction.Predict(request, timeout=30)
    assert list(response.outputs["contract"].string_val) == [document(version).encode()]
    assert response.model_spec.version.value == version
    assert response.model_spec.signature_name == "contract"


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (predict_request(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (predict_request(name="m"), "NOT_FOUND", "Servable not found for request: Latest(m)"),
        (
            predict_request(version=7),
            "NOT_FOUND",
            "Servable not found for request: Specific(toy, 7)",
        ),
        (
            predict_request(version=3, image=IMAGES),
            "NOT_FOUND",
            "Servable not found for request: Specific(toy, 3)",
        ),
        (
            predict_request(label="beta"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: beta",
        ),
        (predict_request("s"), "FAILED_PRECONDITION", 'Serving signature key "s" not found.'),
        (
            predict_request(image=IMAGES, mask=IMAGES),
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({image,mask}) != len({image}). Sent extra: {mask}. "
            "Missing but required: {}.",
        ),
        (
            predict_request(image=IMAGES.astype(np.float64)),
            "INVALID_ARGUMENT",
            f"input 'image': expected float32 of shape [?, {SIDE}, {SIDE}, 1], got "
            f"float64 of shape [2, {SIDE}, {SIDE}, 1]",
        ),
    ],
)
def test_predict_errors(prediction: Any, request_: Any, code: str, details: str) -> None:
    assert failure(prediction.Predict, request_) == (code, details)


def test_a_tensor_that_is_none(prediction: Any) -> None:
    request = predict_request(image=IMAGES)
    request.inputs["image"].tensor_content = b"123"
    with pytest.raises(grpc.RpcError, match="tensor parsing error: image: tensor_content has 3"):
        prediction.Predict(request, timeout=30)


def test_large_messages_pass(prediction: Any) -> None:
    images = np.zeros((200_000, SIDE, SIDE, 1), np.float32)  # 12.8 MB; gRPC's own limit is 4 MB
    response = prediction.Predict(predict_request(image=images), timeout=30)
    assert response.outputs["probabilities"].tensor_shape.dim[0].size == len(images)
