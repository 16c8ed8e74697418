"""Classify and Regress, which take tf.Examples."""

from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from rockstar_serving.model_server.options import InferenceOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.grpc_calls import failure
from tests.integration.model_server.official_stubs.calls import predict_request
from tests.integration.model_server.official_stubs.flowers import (
    FLOWER_EXAMPLES,
    FLOWERS,
    SCORES,
    SETOSA,
    VIRGINICA,
    classify_request,
    pairs,
    regress_request,
    tf_example,
)
from tfs_api.messages.inference_pb2 import ClassificationRequest, ExampleList, Input
from tfs_api.services import CLASSIFY


@pytest.mark.parametrize(
    ("signature", "labels", "has_scores"),
    [
        ("classify", (SETOSA, VIRGINICA), True),
        ("classify_classes", (SETOSA, VIRGINICA), False),
        ("classify_scores", ("", ""), True),
    ],
)
def test_classify(
    prediction: Any, signature: str, labels: tuple[str, ...], has_scores: bool
) -> None:
    response = prediction.Classify(classify_request(signature), timeout=30)
    scores = [(score, -score) if has_scores else (0, 0) for score in SCORES]
    assert pairs(response.result) == [list(zip(labels, each, strict=True)) for each in scores]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("flowers", 1, signature)


def test_classify_scores_as_predict_does(prediction: Any) -> None:
    one = prediction.Classify(classify_request("classify", FLOWER_EXAMPLES[:1]), timeout=30)
    request = predict_request(name="flowers", x=np.array(FLOWERS[:1], np.float32))
    scores = prediction.Predict(request, timeout=30).outputs["scores"].float_val
    assert pairs(one.result) == [list(zip((SETOSA, VIRGINICA), scores, strict=True))]


def test_regress(prediction: Any) -> None:
    response = prediction.Regress(regress_request("regress"), timeout=30)
    assert [each.value for each in response.result.regressions] == SCORES
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("flowers", 1, "regress")


@pytest.mark.parametrize(
    ("call", "make"), [("Classify", classify_request), ("Regress", regress_request)]
)
def test_requests_that_classify_and_regress_both_reject(
    prediction: Any, call: str, make: Any
) -> None:
    ask, signature = getattr(prediction, call), call.lower()
    no_spec = make(signature)
    no_spec.ClearField("model_spec")
    for request, code, details in [
        (no_spec, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (make(signature, name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (make("", name="m"), "NOT_FOUND", "Servable not found for request: Latest(m)"),
        (make("s"), "INVALID_ARGUMENT", "No signature was found with the name: s"),
        (make(signature, []), "INVALID_ARGUMENT", "Input is empty."),
        (make(signature, [], context=FLOWER_EXAMPLES[0]), "INVALID_ARGUMENT", "Input is empty."),
    ]:
        assert failure(ask, request) == (code, details)
    for request, details in [
        (make(""), f"No {'classification' if call == 'Classify' else 'regression'} inputs found"),
        (make(signature, [tf_example(y=(1.0, 2.0))]), "x"),
        (make(signature, [tf_example(x=(1.0,))]), "x"),
    ]:
        code, found = failure(ask, request)
        assert code == "INVALID_ARGUMENT"
        assert details in found


def test_bytes_that_are_no_example(channel: grpc.Channel) -> None:
    # Our messages, because the official ones cannot hold these values.
    request = ClassificationRequest(input=Input(example_list=ExampleList(examples=[b"\xff"])))
    request.model_spec.name = "flowers"
    request.model_spec.signature_name = "classify"
    call: Any = channel.unary_unary(
        CLASSIFY.path, request_serializer=CLASSIFY.request.SerializeToString
    )
    code, details = failure(call, request)
    assert code == "INVALID_ARGUMENT"
    assert "Could not parse example input" in details


def test_method_names_are_checked_with_the_flag(configs: Any) -> None:
    options = ServerOptions(configs[1:2], inference=InferenceOptions(check_methods=True))
    with ModelServer(options) as server, grpc.insecure_channel(str(server.grpc_address)) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert prediction.Classify(classify_request("classify"), timeout=30).result
        assert failure(prediction.Classify, classify_request("regress")) == (
            "INVALID_ARGUMENT",
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/regress",
        )
