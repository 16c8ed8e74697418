"""--enable_serialization_as_tensor_content, with the official stubs."""

import warnings
from pathlib import Path

import grpc
import numpy as np
import pytest

from rockstar_serving.model_server.options import GrpcOptions
from tests.integration.model_server.conftest import fake_server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


@pytest.mark.parametrize("as_content", [False, True])
def test_tensors_in_the_configured_form(tmp_path: Path, as_content: bool) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[1, 2], [3, 4]], np.float32)))
    text = predict_pb2.PredictRequest()
    text.model_spec.name, text.model_spec.signature_name = "m", "echo"
    text.inputs["text"].CopyFrom(tf.make_tensor_proto(["é"]))
    with (
        fake_server(tmp_path, grpc=GrpcOptions(tensor_content=as_content)) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        doubled = predict(request, timeout=30).outputs["y"]
        echoed = predict(text, timeout=30).outputs["text"]
    np.testing.assert_array_equal(tf.make_ndarray(doubled), [[2, 4], [6, 8]])
    assert bool(doubled.tensor_content) == as_content
    assert len(doubled.float_val) == (0 if as_content else 4)
    read = tf.io.parse_tensor(echoed.SerializeToString(), tf.string).numpy()
    assert read.tolist() == ["é".encode()]
    assert bool(echoed.tensor_content) == as_content
