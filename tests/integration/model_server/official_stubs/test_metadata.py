"""GetModelMetadata."""

from functools import partial
from typing import Any

import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from rockstar_serving.model_server.server import ModelServer
from tests.grpc_calls import failure
from tests.integration.model_server.conftest import ask
from tests.integration.model_server.official_stubs.calls import spec_of
from tests.model_fixtures import SIDE


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


@pytest.mark.parametrize("name", ["toy", "flowers", "shapes"])
def test_metadata_over_rest_is_the_json_of_the_official_messages(
    prediction: Any, server: ModelServer, name: str
) -> None:
    response = prediction.GetModelMetadata(metadata_request(name, "signature_def"), timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    as_json = partial(
        json_format.MessageToDict,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    assert ask(server.rest_address, f"/v1/models/{name}/metadata") == (
        200,
        {
            "model_spec": as_json(response.model_spec),
            "metadata": {"signature_def": as_json(signatures)},
        },
    )


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
    assert failure(prediction.GetModelMetadata, request_) == (code, details)
