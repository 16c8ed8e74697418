"""Random requests by hypothesis, most of them almost valid."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.examples_engine import example
from tests.tfserving_diff.requests import rest
from tests.tfserving_diff.servers import Request
from tfs_api import services
from tfs_api.messages import inference_pb2, model_status_pb2, prediction_pb2, tensor_pb2
from tfs_api.messages.prediction_pb2 import ModelSpec
from tfs_api.signature import CLASSIFY_METHOD as CLASSIFY
from tfs_api.signature import REGRESS_METHOD as REGRESS
from tfs_api.tensors import WIRE_TYPES, to_proto

# The signatures of each model, as REST describes them.
Catalogue = Mapping[str, Mapping[str, Any]]

# It counts to its input, so random numbers would take minutes; initializers have no outputs.
_LEFT_OUT = ("slow", "__saved_model_init_op")
_FEATURES = ("x", "x", "x", "word", "ids", "y")
_BYTES = st.binary(max_size=4)
_TEXT = st.text(max_size=4)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_SMALL = st.integers(-3, 300)
_FLOATS = st.one_of(st.integers(-8, 8).map(lambda n: n / 2), st.floats(width=32))
# A feature of the classifiers in tests.saved_models.
_RIGHT = st.just([1.0, 2.0])
_B64 = _BYTES.map(lambda data: {"b64": base64.b64encode(data).decode()})
_STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    _SMALL,
    st.integers(-(2**70), 2**70),
    st.floats(),
    _TEXT,
    _B64,
    st.fixed_dictionaries({"b64": st.one_of(_TEXT, st.none())}),
    st.lists(_SMALL, max_size=2),
    st.dictionaries(_TEXT, _SMALL, max_size=2),
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "DT_STRING": st.one_of(_TEXT, _B64),
    "DT_BOOL": st.booleans(),
    "DT_INT32": st.one_of(_SMALL, st.integers(-(2**31), 2**31 - 1)),
    "DT_INT64": st.one_of(_SMALL, _INT64),
    "DT_UINT64": st.integers(0, 2**64 - 1),
    "DT_UINT32": st.integers(0, 2**32 - 1),
    **dict.fromkeys(("DT_INT8", "DT_INT16", "DT_UINT8", "DT_UINT16"), _SMALL),
}
_METADATA = st.lists(st.sampled_from(["signature_def", "signature_def", "no", ""]), max_size=2)


def generate(catalogue: Catalogue, count: int, number: int) -> list[Request]:
    """Requests to models.

    Args:
        catalogue: signatures of the models.
        count: number of requests.
        number: seed.
    """
    found: list[Request] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        found.append(_request(data.draw, catalogue))

    collect()
    return found[:count]


def _request(draw: Any, catalogue: Catalogue) -> Request:
    makers = [_rest_predict] * 4 + [_grpc_predict] * 4 + [_rest_examples, _grpc_examples]
    make = draw(st.sampled_from([*makers, _get, _about]))
    models = sorted(catalogue)
    if make in (_rest_examples, _grpc_examples) and not _seldom(draw):
        models = [name for name in models if _of_examples(catalogue[name])] or models
    model = draw(st.sampled_from(models))
    signatures = {name: each for name, each in catalogue[model].items() if name not in _LEFT_OUT}
    request: Request = make(draw, model, signatures)
    return request


def _of_examples(signatures: Mapping[str, Any]) -> bool:
    methods = {each["method_name"] for each in signatures.values()}
    return not methods.isdisjoint((CLASSIFY, REGRESS))


def _rest_predict(draw: Any, model: str, signatures: Mapping[str, Any]) -> Request:
    name = draw(st.sampled_from(sorted(signatures)))
    inputs = signatures[name]["inputs"]
    by_row = draw(st.booleans())
    document: dict[str, Any] = {}
    if name != "serving_default" or draw(st.booleans()):
        document["signature_name"] = name
    shapes = {each: _shape(draw, info) for each, info in inputs.items()}
    if by_row:
        size = draw(st.integers(0, 3))
        rows = [
            {each: _nested(draw, shapes[each][1:], inputs[each]["dtype"]) for each in inputs}
            for _ in range(size)
        ]
        document["instances"] = _maybe_unnamed(draw, rows, inputs)
    else:
        columns = {each: _nested(draw, shapes[each], inputs[each]["dtype"]) for each in inputs}
        document["inputs"] = _maybe_unnamed(draw, [columns], inputs)[0]
    if _seldom(draw):
        document = _spoiled(draw, document)
    return rest("predict", f"{_path(draw, model)}:predict", _text(draw, document))


def _rest_examples(draw: Any, model: str, signatures: Mapping[str, Any]) -> Request:
    verb = draw(st.sampled_from(["classify", "regress"]))
    value = st.one_of(_FLOATS, _SMALL, _TEXT, _B64, st.booleans(), _STRANGE)
    features = st.dictionaries(
        st.sampled_from(_FEATURES),
        st.one_of(_RIGHT, _RIGHT, st.lists(_FLOATS, max_size=3), value, st.lists(value)),
        max_size=2,
    )
    document: dict[str, Any] = {"examples": draw(st.lists(features, max_size=3))}
    if draw(st.booleans()):
        document["context"] = draw(features)
    document["signature_name"] = draw(st.sampled_from(sorted(signatures)))
    if _seldom(draw):
        document = _spoiled(draw, document)
    return rest(verb, f"{_path(draw, model)}:{verb}", _text(draw, document))


def _get(draw: Any, model: str, _: Mapping[str, Any]) -> Request:
    end = draw(st.sampled_from(["", "/metadata", "/", "/Metadata", "?a=b", ":predict"]))
    method = draw(st.sampled_from(["GET", "GET", "GET", "POST", "DELETE"]))
    return Request("status, metadata", _path(draw, model) + end, method)


def _grpc_predict(draw: Any, model: str, signatures: Mapping[str, Any]) -> Request:
    name = draw(st.sampled_from(sorted(signatures)))
    inputs, outputs = signatures[name]["inputs"], signatures[name]["outputs"]
    request = prediction_pb2.PredictRequest(model_spec=_spec(draw, model, name))
    for each, info in inputs.items():
        if not _seldom(draw):
            request.inputs[each].CopyFrom(_tensor(draw, info))
    if _seldom(draw):
        request.inputs["other"].CopyFrom(_tensor(draw, {"dtype": "DT_FLOAT"}))
    if _seldom(draw):
        request.output_filter.extend(
            draw(st.lists(st.sampled_from([*outputs, *outputs, "no", ""]), max_size=3))
        )
    return _call(services.PREDICT, request)


def _grpc_examples(draw: Any, model: str, signatures: Mapping[str, Any]) -> Request:
    values = st.one_of(
        _RIGHT,
        _RIGHT,
        st.lists(_FLOATS, max_size=3),
        st.lists(_INT64, max_size=2),
        st.lists(_BYTES, max_size=2),
    )
    features = st.dictionaries(st.sampled_from(_FEATURES), values, max_size=3)
    one = st.one_of(features.map(lambda made: example(**made)), _BYTES)
    examples = draw(st.lists(one, max_size=3))
    sent = inference_pb2.Input()
    if draw(st.booleans()):
        sent.example_list.CopyFrom(inference_pb2.ExampleList(examples=examples))
    else:
        sent.example_list_with_context.CopyFrom(
            inference_pb2.ExampleListWithContext(examples=examples, context=draw(one))
        )
    name = draw(st.sampled_from(sorted(signatures)))
    spec = _spec(draw, model, name)
    which = draw(st.integers(0, 2))
    if which == 0:
        request = inference_pb2.ClassificationRequest(model_spec=spec, input=sent)
        return _call(services.CLASSIFY, request)
    if which == 1:
        return _call(services.REGRESS, inference_pb2.RegressionRequest(model_spec=spec, input=sent))
    multi = inference_pb2.MultiInferenceRequest(input=sent)
    for each in draw(st.lists(st.sampled_from(sorted(signatures)), max_size=3)):
        method = draw(st.sampled_from([CLASSIFY, REGRESS, "no", signatures[each]["method_name"]]))
        multi.tasks.add(model_spec=_spec(draw, model, each), method_name=method)
    return _call(services.MULTI_INFERENCE, multi)


def _about(draw: Any, model: str, _: Mapping[str, Any]) -> Request:
    spec = _spec(draw, model, draw(st.sampled_from(["", "serving_default"])))
    if draw(st.booleans()):
        return _call(
            services.GET_MODEL_STATUS, model_status_pb2.GetModelStatusRequest(model_spec=spec)
        )
    return _call(
        services.GET_MODEL_METADATA,
        prediction_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=draw(_METADATA)),
    )


def _seldom(draw: Any) -> bool:
    return bool(draw(st.integers(0, 9)) == 9)


def _path(draw: Any, model: str) -> str:
    escaped = model.replace("/", "%2F")
    if not _seldom(draw):
        return f"/v1/models/{escaped}"
    ends = [
        "/versions/1",
        "/versions/2",
        "/versions/01",
        "/versions/x",
        "/labels/stable",
        "/labels/",
    ]
    return f"/v1/models/{escaped}{draw(st.sampled_from(ends))}"


def _spec(draw: Any, model: str, signature: str) -> ModelSpec:
    spec = ModelSpec(name=model, signature_name=signature)
    if _seldom(draw):
        spec.version.value = draw(st.integers(-1, 3))
    elif _seldom(draw):
        spec.version_label = draw(st.sampled_from(["stable", "no", ""]))
    if _seldom(draw):
        spec.name = draw(st.sampled_from(["no", ""]))
    if _seldom(draw):
        spec.signature_name = draw(st.sampled_from(["", "no", "serving_default"]))
    return spec


def _shape(draw: Any, info: Mapping[str, Any]) -> list[int]:
    """A shape that a signature accepts; sometimes another."""
    described = info.get("tensor_shape", {})
    if described.get("unknown_rank") or _seldom(draw):
        return draw(st.lists(st.integers(0, 3), max_size=3))  # type: ignore[no-any-return]
    sizes = [int(dim["size"]) for dim in described.get("dim", [])]
    return [draw(st.integers(0, 3)) if size < 0 else size for size in sizes]


def _nested(draw: Any, shape: list[int], dtype: str) -> Any:
    """A tensor in JSON, possibly with an error."""
    if _seldom(draw) and _seldom(draw):
        return draw(_STRANGE)
    if not shape:
        return draw(_VALUES.get(dtype, _FLOATS))
    size = shape[0] + (1 if _seldom(draw) and _seldom(draw) else 0)
    return [_nested(draw, shape[1:], dtype) for _ in range(size)]


def _maybe_unnamed(draw: Any, rows: list[dict[str, Any]], inputs: Mapping[str, Any]) -> list[Any]:
    """Objects of values; sometimes only the values, if each object has one."""
    if len(inputs) == 1 and draw(st.booleans()):
        return [next(iter(row.values())) for row in rows]
    return list(rows)


def _spoiled(draw: Any, document: dict[str, Any]) -> dict[str, Any]:
    key = draw(st.sampled_from([*document, "instances", "inputs", "signature_name", "other"]))
    if draw(st.booleans()):
        return {name: value for name, value in document.items() if name != key}
    return {**document, key: draw(_STRANGE)}


def _text(draw: Any, document: Any) -> str:
    """A document as text; sometimes with missing or additional text."""
    text = json.dumps(
        document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    if not _seldom(draw):
        return text
    start = draw(st.integers(0, len(text)))
    middle = draw(
        st.sampled_from(["", "", "]", "}", "[", "{", '"', ",", "0", "x", "\\", "Inf", "NaN", "\t"])
    )
    end = draw(st.integers(start, min(start + 2, len(text))))
    return f"{text[:start]}{middle}{text[end:]}"


def _tensor(draw: Any, info: Mapping[str, Any]) -> tensor_pb2.TensorProto:
    number = tensor_pb2.DataType.Value(info["dtype"])
    if _seldom(draw):
        number = draw(st.sampled_from(sorted(WIRE_TYPES)))
    dtype = WIRE_TYPES[number].dtype
    shape = _shape(draw, info)
    size = int(np.prod(shape))
    if dtype == np.dtype(object):
        array = np.empty(size, dtype=object)
        array[:] = draw(st.lists(_BYTES, min_size=size, max_size=size))
    else:
        numbers = st.lists(st.integers(0, 100), min_size=size, max_size=size)
        array = np.array(draw(numbers)).astype(dtype)
    content = draw(st.booleans()) and dtype != np.dtype(object)
    proto = to_proto(array.reshape(shape), as_content=content)
    if _seldom(draw):
        change = draw(st.integers(0, 3))
        if change == 0:
            proto.ClearField("tensor_shape")
        elif change == 1:
            proto.tensor_shape.dim.add(size=draw(st.integers(-1, 3)))
        elif change == 2:
            proto.dtype = draw(st.sampled_from(sorted(WIRE_TYPES)))
        else:
            proto.ClearField("dtype")
    return proto


def _call(method: services.Method[Any, Any], message: Any) -> Request:
    return Request(method.name, method.path, body=message.SerializeToString())
