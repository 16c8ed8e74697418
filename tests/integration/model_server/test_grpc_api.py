"""The official client stubs of TensorFlow Serving against our server."""

import warnings
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from serving.model_server.server import ModelServer
from tests.model_fixtures import CLASSES, SIDE, document, probabilities

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

IMAGES = np.random.default_rng(3).random((2, SIDE, SIDE, 1), np.float32)
QUERY = np.zeros(1, np.int32)


@pytest.fixture(scope="module")
def channel(server: ModelServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel: grpc.Channel) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(channel)


def spec_of(request: Any, name: str, version: int | None, label: str | None) -> Any:
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def predict_request(
    signature: str = "",
    *,
    name: str = "toy",
    version: int | None = None,
    label: str | None = None,
    fetches: tuple[str, ...] = (),
    **inputs: Any,
) -> Any:
    request = spec_of(predict_pb2.PredictRequest(), name, version, label)
    request.model_spec.signature_name = signature
    request.output_filter.extend(fetches)
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_predict(prediction: Any) -> None:
    response = prediction.Predict(predict_request(image=IMAGES), timeout=30)
    assert set(response.outputs) == {"probabilities"}
    answer = response.outputs["probabilities"]
    np.testing.assert_allclose(tf.make_ndarray(answer), probabilities(IMAGES), rtol=1e-5)
    assert len(answer.float_val) == 2 * CLASSES  # the typed field, as TensorFlow Serving answers
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("toy", 2, "serving_default")


@pytest.mark.parametrize(("which", "version"), [({"version": 1}, 1), ({"label": "stable"}, 1)])
def test_predict_asks_for_a_version(prediction: Any, which: dict[str, Any], version: int) -> None:
    request = predict_request("contract", query=QUERY, fetches=("contract",), **which)
    response = prediction.Predict(request, timeout=30)
    assert list(response.outputs["contract"].string_val) == [document(version).encode()]
    assert response.model_spec.version.value == version
    assert response.model_spec.signature_name == "contract"


SIZE = "input size does not match signature: "
WANTED = f"input 'image': expected float32 of shape [?, {SIDE}, {SIDE}, 1], got "


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
            predict_request(),
            "INVALID_ARGUMENT",
            SIZE + "0!=1 len({}) != len({image}). Sent extra: {}. Missing but required: {image}.",
        ),
        (
            predict_request(image=IMAGES, mask=IMAGES),
            "INVALID_ARGUMENT",
            SIZE + "2!=1 len({image,mask}) != len({image}). Sent extra: {mask}. "
            "Missing but required: {}.",
        ),
        (
            predict_request(image=IMAGES.astype(np.float64)),
            "INVALID_ARGUMENT",
            f"{WANTED}float64 of shape [2, {SIDE}, {SIDE}, 1]",
        ),
        (
            predict_request(image=IMAGES[..., 0]),
            "INVALID_ARGUMENT",
            f"{WANTED}float32 of shape [2, {SIDE}, {SIDE}]",
        ),
        (
            predict_request(image=IMAGES, fetches=("logits",)),
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: logits "
            "Outputs expected to be in the set {probabilities}.",
        ),
    ],
)
def test_predict_errors(prediction: Any, request_: Any, code: str, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(request_, timeout=30)
    error: Any = caught.value
    assert (error.code().name, error.details()) == (code, details)


def test_a_tensor_that_is_none(prediction: Any) -> None:
    request = predict_request(image=IMAGES)
    request.inputs["image"].tensor_content = b"123"
    with pytest.raises(grpc.RpcError, match="input 'image': tensor_content has 3 bytes"):
        prediction.Predict(request, timeout=30)


def test_large_messages_pass(prediction: Any) -> None:
    images = np.zeros((200_000, SIDE, SIDE, 1), np.float32)  # 12.8 MB; gRPC's own limit is 4 MB
    response = prediction.Predict(predict_request(image=images), timeout=30)
    assert response.outputs["probabilities"].tensor_shape.dim[0].size == len(images)


def metadata_request(name: str = "toy", *fields: str, version: int | None = None) -> Any:
    request = spec_of(get_model_metadata_pb2.GetModelMetadataRequest(), name, version, None)
    request.metadata_field.extend(fields)
    return request


def test_metadata(prediction: Any) -> None:
    response = prediction.GetModelMetadata(metadata_request("toy", "signature_def"), timeout=30)
    assert (response.model_spec.name, response.model_spec.version.value) == ("toy", 2)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "contract"}
    predict = signatures.signature_def["serving_default"]
    assert predict.method_name == "tensorflow/serving/predict"
    image = predict.inputs["image"]
    assert tf.as_dtype(image.dtype) == tf.float32
    assert tf.TensorShape(image.tensor_shape).as_list() == [None, SIDE, SIDE, 1]
    contract = signatures.signature_def["contract"]
    assert tf.as_dtype(contract.outputs["contract"].dtype) == tf.string


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (
            metadata_request("toy"),
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            metadata_request("toy", "weights"),
            "INVALID_ARGUMENT",
            "Metadata field weights is not supported",
        ),
        (
            metadata_request("m", "signature_def"),
            "NOT_FOUND",
            "Servable not found for request: Latest(m)",
        ),
    ],
)
def test_metadata_errors(prediction: Any, request_: Any, code: str, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        prediction.GetModelMetadata(request_, timeout=30)
    error: Any = caught.value
    assert (error.code().name, error.details()) == (code, details)


def status_request(name: str = "toy", version: int | None = None, label: str | None = None) -> Any:
    return spec_of(get_model_status_pb2.GetModelStatusRequest(), name, version, label)


def test_status(models: Any) -> None:
    response = models.GetModelStatus(status_request(), timeout=30)
    state = get_model_status_pb2.ModelVersionStatus.State
    found = [
        (each.version, state.Name(each.state), each.status.error_code)
        for each in response.model_version_status
    ]
    assert found == [(3, "END", 9), (2, "AVAILABLE", 0), (1, "AVAILABLE", 0)]
    assert "model.tflite is damaged" in response.model_version_status[0].status.error_message


def test_status_of_one_version(models: Any) -> None:
    for request in (status_request(version=1), status_request(label="stable")):
        response = models.GetModelStatus(request, timeout=30)
        assert [each.version for each in response.model_version_status] == [1]


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (status_request("m"), "NOT_FOUND", "Could not find any versions of model m"),
        (status_request(version=7), "NOT_FOUND", "Could not find version 7 of model toy"),
        (
            get_model_status_pb2.GetModelStatusRequest(),
            "INVALID_ARGUMENT",
            "Missing ModelSpec",
        ),
    ],
)
def test_status_errors(models: Any, request_: Any, code: str, details: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        models.GetModelStatus(request_, timeout=30)
    error: Any = caught.value
    assert (error.code().name, error.details()) == (code, details)


def test_what_is_not_there_is_unimplemented(prediction: Any) -> None:
    from tensorflow_serving.apis import classification_pb2

    with pytest.raises(grpc.RpcError) as caught:
        prediction.Classify(classification_pb2.ClassificationRequest(), timeout=30)
    error: Any = caught.value
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
