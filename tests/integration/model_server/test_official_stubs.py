"""Every call of TensorFlow Serving's official client stubs against a running server of ours.

It has three models: `toy` in LiteRT, `flowers`, a SavedModel of TensorFlow 1 (make_tf1) whose scores
of the features x are [s, -s] with s = x[0] + 2 x[1], and `shapes`, one of TensorFlow 2 (make_shapes).
"""

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from serving.api.messages.inference_pb2 import ClassificationRequest, ExampleList, Input
from serving.api.services import CLASSIFY
from serving.model_server.models.config import All, ModelConfig
from serving.model_server.options import InferenceOptions, LoadOptions, ServerOptions
from serving.model_server.server import ModelServer
from tests.integration.model_server.conftest import ask
from tests.model_fixtures import CLASSES, SIDE, document, probabilities, write_version
from tests.saved_models import SPECIES, SavedModels, make_shapes, make_tf1
from tests.waiting import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

IMAGES = np.random.default_rng(3).random((2, SIDE, SIDE, 1), np.float32)
QUERY = np.zeros(1, np.int32)


@pytest.fixture(scope="module")
def configs(
    tmp_path_factory: pytest.TempPathFactory, saved_models: SavedModels
) -> tuple[ModelConfig, ...]:
    toys = tmp_path_factory.mktemp("models") / "toy"
    for version in (1, 2):
        write_version(toys, version)
    write_version(toys, 3, b"\0\0\0\0TFL3 but nothing more")
    return (
        ModelConfig("toy", toys, All(), {"stable": 1}),
        ModelConfig("flowers", saved_models.version(make_tf1).parent),
        ModelConfig("shapes", saved_models.version(make_shapes).parent),
    )


@pytest.fixture(scope="module")
def server(configs: tuple[ModelConfig, ...]) -> Iterator[ModelServer]:
    labels = LoadOptions(allow_labels_for_unavailable=True)
    with ModelServer(ServerOptions(configs, load=labels)) as server:
        yield server


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


def failure(call: Any, request: Any) -> tuple[str, str]:
    """Code and details of a call that is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    error: Any = caught.value
    return error.code().name, error.details()


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
    assert failure(prediction.Predict, request_) == (code, details)


def test_a_tensor_that_is_none(prediction: Any) -> None:
    request = predict_request(image=IMAGES)
    request.inputs["image"].tensor_content = b"123"
    with pytest.raises(grpc.RpcError, match="input 'image': tensor_content has 3 bytes"):
        prediction.Predict(request, timeout=30)


def test_large_messages_pass(prediction: Any) -> None:
    images = np.zeros((200_000, SIDE, SIDE, 1), np.float32)  # 12.8 MB; gRPC's own limit is 4 MB
    response = prediction.Predict(predict_request(image=images), timeout=30)
    assert response.outputs["probabilities"].tensor_shape.dim[0].size == len(images)


FLOWERS = [(1.0, 2.0), (3.0, -1.0), (0.0, 0.0)]
SCORES = [5.0, 1.0, 0.0]
SETOSA, VIRGINICA = (name.decode() for name in SPECIES)


def tf_example(**features: tuple[float, ...]) -> Any:
    example = tf.train.Example()
    for name, values in features.items():
        example.features.feature[name].float_list.value.extend(values)
    return example


def fill(input_: Any, *examples: Any, context: Any = None) -> None:
    """Put examples into the input of a request."""
    if context is None:
        input_.example_list.examples.extend(examples)
    else:
        input_.example_list_with_context.examples.extend(examples)
        input_.example_list_with_context.context.CopyFrom(context)


FLOWER_EXAMPLES = [tf_example(x=flower) for flower in FLOWERS]


def examples_request(
    make: Any,
    signature: str,
    examples: Any = FLOWER_EXAMPLES,
    *,
    name: str = "flowers",
    version: int | None = None,
    label: str | None = None,
    context: Any = None,
) -> Any:
    request = spec_of(make(), name, version, label)
    request.model_spec.signature_name = signature
    fill(request.input, *examples, context=context)
    return request


classify_request = partial(examples_request, classification_pb2.ClassificationRequest)
regress_request = partial(examples_request, regression_pb2.RegressionRequest)


def pairs(result: Any) -> list[list[tuple[str, float]]]:
    """Labels and scores of a ClassificationResult."""
    return [
        [(each.label, each.score) for each in classifications.classes]
        for classifications in result.classifications
    ]


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


def test_context_is_for_all_examples_but_their_own_features_win(prediction: Any) -> None:
    request = regress_request(
        "regress", [tf.train.Example(), FLOWER_EXAMPLES[1]], context=FLOWER_EXAMPLES[0]
    )
    response = prediction.Regress(request, timeout=30)
    assert [each.value for each in response.result.regressions] == SCORES[:2]


@pytest.mark.parametrize(
    ("call", "make"), [("Classify", classify_request), ("Regress", regress_request)]
)
def test_what_classify_and_regress_both_refuse(prediction: Any, call: str, make: Any) -> None:
    ask, signature = getattr(prediction, call), call.lower()
    no_spec = make(signature)
    no_spec.ClearField("model_spec")
    for request, code, details in [
        (no_spec, "INVALID_ARGUMENT", "Missing ModelSpec"),
        (make(signature, name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (make("", name="m"), "NOT_FOUND", "Servable not found for request: Latest(m)"),
        (
            make("", version=7),
            "NOT_FOUND",
            "Servable not found for request: Specific(flowers, 7)",
        ),
        (
            make("", label="beta"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: beta",
        ),
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
    # The official messages cannot hold them, so these are ours.
    request = ClassificationRequest(input=Input(example_list=ExampleList(examples=[b"\xff"])))
    request.model_spec.name = "flowers"
    request.model_spec.signature_name = "classify"
    call: Any = channel.unary_unary(
        CLASSIFY.path, request_serializer=CLASSIFY.request.SerializeToString
    )
    code, details = failure(call, request)
    assert code == "INVALID_ARGUMENT"
    assert "Could not parse example input" in details


def test_signatures_for_something_else(prediction: Any) -> None:
    assert failure(prediction.Classify, classify_request("regress"))[0] == "INVALID_ARGUMENT"
    assert failure(prediction.Regress, regress_request("classify")) == (
        "INVALID_ARGUMENT",
        "Expected one output Tensor.",
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
            multi_request(("regress", REGRESS_METHOD), name=""),
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        ),
        (
            multi_request(("regress", REGRESS_METHOD), name="m"),
            "NOT_FOUND",
            "Servable not found for request: Latest(m)",
        ),
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


def test_method_names_are_checked_where_that_is_asked_for(configs: Any) -> None:
    options = ServerOptions(configs[1:2], inference=InferenceOptions(check_methods=True))
    with ModelServer(options) as server, grpc.insecure_channel(str(server.grpc_address)) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert prediction.Classify(classify_request("classify"), timeout=30).result
        assert failure(prediction.Classify, classify_request("regress")) == (
            "INVALID_ARGUMENT",
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/regress",
        )


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


@pytest.mark.parametrize(("name", "make"), [("flowers", make_tf1), ("shapes", make_shapes)])
def test_metadata_is_what_the_saved_model_holds(
    prediction: Any, saved_models: SavedModels, name: str, make: Any
) -> None:
    response = prediction.GetModelMetadata(metadata_request(name, "signature_def"), timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    file = saved_models.version(make) / "saved_model.pb"
    (graph,) = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    assert dict(signatures.signature_def) == dict(graph.signature_def)


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
    assert failure(models.GetModelStatus, request_) == (code, details)


def reload_request(*models: tuple[str, Any]) -> Any:
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for name, base_path in models:
        config = request.config.model_config_list.config.add()
        config.name, config.base_path, config.model_platform = name, str(base_path), "tensorflow"
    return request


def test_reload_config_replaces_the_whole_set(configs: Any) -> None:
    toys = configs[0].base_path
    with (
        ModelServer(ServerOptions(configs[1:2])) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        response = models.HandleReloadConfigRequest(reload_request(("toys", toys)), timeout=30)
        assert (response.status.error_code, response.status.error_message) == (0, "")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(predict_request(name="toys", image=IMAGES), timeout=30)
        assert answer.model_spec.version.value == 2
        assert failure(models.GetModelStatus, status_request("nobody"))[0] == "NOT_FOUND"
        # What is no longer asked for is unloaded behind the answer.
        until(lambda: refused(stub, "flowers"), what="flowers are gone")


def refused(stub: Any, model: str) -> bool:
    request = predict_request(name=model, x=np.zeros((1, 2), np.float32))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=30)
    error: Any = caught.value
    return bool(error.details() == f"Servable not found for request: Latest({model})")


def test_reload_config_errors(models: Any) -> None:
    empty = model_management_pb2.ReloadConfigRequest()
    assert failure(models.HandleReloadConfigRequest, empty)[0] == "INVALID_ARGUMENT"
    relative = reload_request(("m", "not/absolute"))
    assert failure(models.HandleReloadConfigRequest, relative)[0] == "INVALID_ARGUMENT"
