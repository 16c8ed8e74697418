"""Handwritten requests: the golden ones, and those of clients with past problems."""

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tests import rest_cases
from tests.examples_engine import example, inference_task
from tests.tfserving_diff.servers import Request
from tfs_api import services
from tfs_api.messages.inference_pb2 import (
    ClassificationRequest,
    ExampleList,
    ExampleListWithContext,
    Input,
    MultiInferenceRequest,
    RegressionRequest,
)
from tfs_api.messages.model_status_pb2 import GetModelStatusRequest
from tfs_api.messages.prediction_pb2 import (
    GetModelMetadataRequest,
    ModelSpec,
    PredictRequest,
)
from tfs_api.messages.tensor_pb2 import DT_FLOAT, DT_STRING, TensorProto
from tfs_api.signature import CLASSIFY_METHOD as CLASSIFY
from tfs_api.signature import REGRESS_METHOD as REGRESS
from tfs_api.tensors import to_proto


def golden() -> Iterator[tuple[str, Request]]:
    """The requests of tests/testdata/rest, with the names of their files."""
    for name in rest_cases.names():
        asked = rest_cases.read(name).request
        coding = {"Content-Encoding": "gzip"} if asked.gzip else {}
        headers = coding | asked.headers
        yield name, Request("golden", asked.path, asked.method, asked.body or b"", headers)


def known() -> Iterator[Request]:
    """Requests of clients, and of public bug reports."""
    yield from _rest()
    for method, message in _messages():
        yield Request(method.name, method.path, body=message.SerializeToString())


def rest(kind: str, path: str, document: Any) -> Request:
    """A POST of a document, or of a text that may not be JSON."""
    text = document if isinstance(document, str) else json.dumps(document)
    return Request(kind, path, "POST", text.encode("utf-8", "surrogatepass"))


def _rest() -> Iterator[Request]:
    tf1 = "/v1/models/tf1"
    body: dict[str, Any]
    for body in (
        {"instances": [1.0, 2.0, 5.0]},
        {"instances": [[1.0], [2.0]]},
        {"instances": [{"x": 1.0}, {"x": 2.0}]},
        {"inputs": [[[1.0]]]},
        {"inputs": 3},
        {"instances": [1.0], "signature_name": "serving_default"},
    ):
        yield rest("predict", "/v1/models/half_plus:predict", body)
    for verb in ("classify", "regress"):
        for signature in ("", "classify", "classify_scores", "classify_classes", "regress", "no"):
            for body in (
                {"examples": [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}]},
                {"context": {"x": [1.0, 2.0]}, "examples": [{}, {}]},
                {"context": {"x": [1.0, 2.0]}, "examples": [{"x": [0.0, 0.0]}]},
                {"examples": [{"x": [1, 2]}]},
                {"examples": [{"x": [1.0]}]},
                {"examples": [{}]},
                {"examples": []},
                {"examples": {"x": [1.0, 2.0]}},
                {"instances": [{"x": [1.0, 2.0]}]},
            ):
                named: dict[str, Any] = {"signature_name": signature} if signature else {}
                yield rest(verb, f"{tf1}:{verb}", named | body)
    for path in ("/v1/models/team%2Fboth", "/v1/models/team/both", "/v1/models/team%2fboth"):
        yield Request("status", path, "GET")
        yield Request("metadata", f"{path}/metadata", "GET")
    yield rest(
        "predict",
        "/v1/models/team%2Fboth:predict",
        {"signature_name": "linear", "instances": [[1, 2]]},
    )
    for model in ("both", "composite", "defaults", "dtypes", "examples", "shapes", "tf1"):
        yield Request("metadata", f"/v1/models/{model}/metadata", "GET")
    yield rest("predict", "/v1/models/defaults:predict", {"inputs": {"x": [1, 2]}})
    yield rest(
        "predict",
        "/v1/models/dtypes:predict",
        {"signature_name": "shouted", "inputs": [["é", {"b64": "/w=="}]]},
    )
    for data in (b'{"instances": [1.0]}', gzip.compress(b'{"instances": [1.0]}')[:-9]):
        path, coding = "/v1/models/half_plus:predict", {"Content-Encoding": "gzip"}
        yield Request("predict", path, "POST", data, coding)
    for nested in (100, 900):
        text = '{"instances": [1], "more": ' + "[" * nested + "]" * nested + "}"
        yield rest("predict", "/v1/models/half_plus:predict", text)


def _messages() -> Iterator[tuple[services.Method[Any, Any], Any]]:
    for name, version in (("half_plus", None), ("half_plus", 1), ("half_plus", 9), ("no", None)):
        spec = ModelSpec(name=name)
        if version is not None:
            spec.version.value = version
        yield services.GET_MODEL_STATUS, GetModelStatusRequest(model_spec=spec)
        for fields in ([], ["signature_def"], ["no"], ["signature_def", "no"]):
            yield (
                services.GET_MODEL_METADATA,
                GetModelMetadataRequest(model_spec=spec, metadata_field=fields),
            )
        yield services.PREDICT, predict(spec, {"x": np.array([2], np.float32)})
    yield services.GET_MODEL_STATUS, GetModelStatusRequest()
    yield services.PREDICT, PredictRequest()
    yield services.PREDICT, predict(ModelSpec(name="half_plus"), {})
    for label in ("stable", "no", ""):
        spec = ModelSpec(name="half_plus", version_label=label)
        yield services.GET_MODEL_STATUS, GetModelStatusRequest(model_spec=spec)
        yield services.PREDICT, predict(spec, {"x": np.array([2], np.float32)})
    half_plus = ModelSpec(name="half_plus")
    for feed in (
        np.float32(2),
        np.array([[2]], np.float32),
        np.array([2], np.float64),
        np.array([2], np.int32),
        np.array([b"2"]),
    ):
        yield services.PREDICT, predict(half_plus, {"x": feed})
    yield (
        services.PREDICT,
        predict(half_plus, {"x": np.array([2], np.float32), "y": np.array([2], np.float32)}),
    )
    yield services.PREDICT, predict(half_plus, {"y": np.array([2], np.float32)})
    for names in (["y"], ["no"], ["y", "y"]):
        filtered = predict(half_plus, {"x": np.array([2], np.float32)})
        filtered.output_filter.extend(names)
        yield services.PREDICT, filtered
    # A message that is too long for clients.
    yield (
        services.PREDICT,
        predict(half_plus, {f"{'long' * 50}{n}": np.array([2], np.float32) for n in range(99)}),
    )
    # The lengths, then the texts.
    content = TensorProto(dtype=DT_STRING, tensor_content=b"\1\2abb")
    content.tensor_shape.dim.add(size=2)
    echo = PredictRequest(model_spec=ModelSpec(name="numbers", signature_name="texts"))
    echo.inputs["text"].CopyFrom(content)
    yield services.PREDICT, echo
    shapeless = PredictRequest(model_spec=half_plus)
    shapeless.inputs["x"].CopyFrom(TensorProto(dtype=DT_FLOAT, float_val=[2.0, 3.0]))
    yield services.PREDICT, shapeless
    for scale in (None, np.float32(3)):
        feeds = {"x": np.array([1], np.float32), **({} if scale is None else {"scale": scale})}
        yield services.PREDICT, predict(ModelSpec(name="defaults"), feeds)
    yield from _on_examples()


def _on_examples() -> Iterator[tuple[services.Method[Any, Any], Any]]:
    good = [example(x=[1.0, 2.0]), example(x=[3.0, 4.0])]
    inputs = [
        Input(example_list=ExampleList(examples=good)),
        Input(
            example_list_with_context=ExampleListWithContext(examples=[b"", b""], context=good[0])
        ),
        Input(example_list=ExampleList(examples=[b""])),
        Input(example_list=ExampleList()),
        Input(example_list=ExampleList(examples=[b"\xff"])),
        Input(),
    ]
    for signature in ("", "classify", "classify_scores", "classify_classes", "regress", "no"):
        spec = ModelSpec(name="tf1", signature_name=signature)
        for each in inputs:
            yield services.CLASSIFY, ClassificationRequest(model_spec=spec, input=each)
            yield services.REGRESS, RegressionRequest(model_spec=spec, input=each)
    tasks = [inference_task("tf1", CLASSIFY, "classify"), inference_task("tf1", REGRESS, "regress")]
    for chosen in (
        tasks,
        tasks[:1],
        [],
        [tasks[0], tasks[0]],
        [inference_task("tf1", REGRESS, "classify")],
        [inference_task("tf1", CLASSIFY, "no")],
        [inference_task("tf1", "no", "classify")],
        [tasks[0], inference_task("half_plus", REGRESS, "regress")],
        [inference_task("", CLASSIFY, "classify")],
    ):
        for each in inputs:
            yield (
                services.MULTI_INFERENCE,
                MultiInferenceRequest(tasks=chosen, input=each),
            )


def predict(spec: ModelSpec, feeds: Mapping[str, Any]) -> PredictRequest:
    """A request to Predict."""
    request = PredictRequest(model_spec=spec)
    for name, value in feeds.items():
        request.inputs[name].CopyFrom(to_proto(np.asarray(value)))
    return request
