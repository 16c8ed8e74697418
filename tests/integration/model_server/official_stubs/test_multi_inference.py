"""MultiInference."""

from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import inference_pb2

from tests.grpc_calls import failure
from tests.integration.model_server.official_stubs.calls import spec_of
from tests.integration.model_server.official_stubs.flowers import (
    FLOWER_EXAMPLES,
    SCORES,
    fill,
    pairs,
)

CLASSIFY_METHOD = tf.saved_model.CLASSIFY_METHOD_NAME
REGRESS_METHOD = tf.saved_model.REGRESS_METHOD_NAME


def multi_request(
    *tasks: tuple[str, str], name: str = "flowers", examples: Any = FLOWER_EXAMPLES
) -> Any:
    """A request for pairs of signature and method."""
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = spec_of(request.tasks.add(), name, None, None)
        task.model_spec.signature_name = signature
        task.method_name = method
    fill(request.input, *examples)
    return request


def test_multi_inference(prediction: Any) -> None:
    request = multi_request(("regress", REGRESS_METHOD), ("classify_scores", CLASSIFY_METHOD))
    first, second = prediction.MultiInference(request, timeout=30).results
    assert [each.value for each in first.regression_result.regressions] == SCORES
    assert pairs(second.classification_result) == [[("", s), ("", -s)] for s in SCORES]
    specs = [(r.model_spec.name, r.model_spec.version.value) for r in (first, second)]
    assert specs == [("flowers", 1)] * 2
    assert [r.model_spec.signature_name for r in (first, second)] == ["regress", "classify_scores"]


def of_two_models() -> Any:
    request = multi_request(("regress", REGRESS_METHOD), ("classify", CLASSIFY_METHOD))
    request.tasks[1].model_spec.name = "toy"
    return request


@pytest.mark.parametrize(
    ("request_", "code", "details"),
    [
        (multi_request(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            of_two_models(),
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            multi_request(("regress", REGRESS_METHOD), ("regress", REGRESS_METHOD)),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress",
        ),
        (
            multi_request(("s", REGRESS_METHOD)),
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: s",
        ),
        (
            multi_request(("regress", tf.saved_model.PREDICT_METHOD_NAME)),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            multi_request(("regress", REGRESS_METHOD), examples=[]),
            "INVALID_ARGUMENT",
            "Input is empty.",
        ),
    ],
)
def test_multi_inference_errors(prediction: Any, request_: Any, code: str, details: str) -> None:
    assert failure(prediction.MultiInference, request_) == (code, details)
