"""Signatures of LiteRT models, and tf.Examples that they parse as TensorFlow does."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from rockstar_serving.model_server.core import PredictQuery, predict
from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.engines.tensorflow import TensorFlowEngine
from rockstar_serving.model_server.examples import ExamplesQuery, classify, regress
from tests.litert_models import (
    make_litert,
    make_nameless,
    make_parsing,
    rewritten,
    with_signature_defs,
)
from tests.model_fixtures import write_version
from tests.saved_models import SavedModels, example
from tfs_api import json_request
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.signature import signature_def
from tfs_api.status import Code, StatusError

ONES = np.ones((2, 2), np.float32)


def message(text: str) -> SignatureDef:
    return text_format.Parse(text, SignatureDef())


def ask(
    engine: LiteRTEngine, feeds: Mapping[str, Any], signature: str = "", *output_filter: str
) -> dict[str, Any]:
    query = PredictQuery(lambda _: feeds, signature, output_filter)
    outputs = predict(engine, query).outputs
    return {name: array.tolist() for name, array in outputs.items()}


@pytest.fixture(scope="module")
def nameless(saved_models: SavedModels) -> bytes:
    return (saved_models.version(make_nameless) / "model.tflite").read_bytes()


@pytest.fixture(scope="module")
def several(saved_models: SavedModels) -> LiteRTEngine:
    return LiteRTEngine(saved_models.version(make_litert))


def test_without_signatures_the_tensors_name_inputs_and_outputs(tmp_path, nameless):
    """The expected message is TensorFlow Serving's, with the sizes before resizing."""
    engine = LiteRTEngine(write_version(tmp_path, 1, nameless))
    assert set(engine.signatures) == {"serving_default"}
    shape = "tensor_shape { dim { size: 1 } dim { size: 2 } }"
    assert signature_def(engine.signatures["serving_default"]) == message(
        f'''inputs {{ key: "x" value {{ name: "x" dtype: DT_FLOAT {shape} }} }}
        outputs {{ key: "Identity" value {{ name: "Identity" dtype: DT_FLOAT {shape} }} }}
        method_name: "tensorflow/serving/predict"'''
    )
    for size in (2, 3, 0):
        ones = np.ones((size, 2), np.float32)
        assert ask(engine, {"x": ones}) == {"Identity": (ones * 2).tolist()}


def test_signatures_in_the_metadata(tmp_path: Path, nameless: bytes) -> None:
    """Including names with ":0", which the first converters removed from tensors."""
    defs = {
        "serving_default": message(
            '''inputs { key: "in" value { name: "x:0" dtype: DT_FLOAT } }
            outputs { key: "out" value { name: "Identity" dtype: DT_FLOAT } }
            method_name: "tensorflow/serving/regress"'''
        ),
        "again": message(
            '''inputs { key: "x" value { name: "x" } }
            outputs { key: "first" value { name: "Identity:0" } }
            outputs { key: "second" value { name: "Identity" } }
            method_name: "tensorflow/serving/predict"'''
        ),
    }
    engine = LiteRTEngine(write_version(tmp_path, 1, with_signature_defs(nameless, defs)))
    assert set(engine.signatures) == {"serving_default", "again"}
    defs["serving_default"].inputs["in"].name = "x"
    defs["again"].outputs["first"].name = "Identity"
    assert {name: signature_def(each) for name, each in engine.signatures.items()} == defs
    assert engine.signatures["serving_default"].method_name == "tensorflow/serving/regress"
    twice = (ONES * 2).tolist()
    assert ask(engine, {"in": ONES}) == {"out": twice}
    assert ask(engine, {"x": ONES}, "again") == {"first": twice, "second": twice}
    assert ask(engine, {"x": ONES}, "again", "second") == {"second": twice}
    with pytest.raises(StatusError) as caught:
        ask(engine, {"x": ONES})
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_metadata_that_names_an_unknown_tensor(tmp_path: Path, nameless: bytes) -> None:
    wrong = message('inputs { key: "in" value { name: "y:0" } }')
    content = with_signature_defs(nameless, {"serving_default": wrong})
    with pytest.raises(LoadError, match=r"'y' for 'in', and the main graph has x"):
        LiteRTEngine(write_version(tmp_path, 1, content))


def test_metadata_that_is_no_message(tmp_path: Path, nameless: bytes) -> None:
    entry = message('method_name: "tensorflow/serving/predict"')
    content = with_signature_defs(nameless, {"serving_default": entry})
    broken = content.replace(b"tensorflow/serving/predict", b"\xff" * 26)
    with pytest.raises(LoadError, match="the signatures in its metadata cannot be read"):
        LiteRTEngine(write_version(tmp_path, 1, broken))


def test_serving_default_is_the_main_graph_where_no_signature_has_the_name(
    tmp_path: Path, several: LiteRTEngine, saved_models: SavedModels
) -> None:
    def rename(model: Any) -> None:
        for definition in model.signatureDefs:
            if definition.signatureKey == b"serving_default":
                definition.signatureKey = "score"

    content = (saved_models.version(make_litert) / "model.tflite").read_bytes()
    engine = LiteRTEngine(write_version(tmp_path, 1, rewritten(content, rename)))
    assert engine.signatures.keys() == {*several.signatures, "score"}
    scored = np.ones((1, 3), np.float32), np.float32(2)
    own = dict(zip(several.signatures["serving_default"].inputs, scored[::-1], strict=True))
    assert ask(engine, {n: np.asarray(v) for n, v in own.items()}, "score")["total"] == [6]
    main = engine.signatures["serving_default"]
    assert set(main.inputs) == {"any_rank_x"}
    assert ask(engine, {"any_rank_x": ONES}) == {"PartitionedCall": (ONES * 2).tolist()}


@pytest.mark.parametrize("signatures", [True, False])
def test_tensors_of_the_same_name(tmp_path, saved_models, signatures):
    """TensorFlow Serving does not load them; signatures do not need the names."""

    def change(model: Any) -> None:
        (graph,) = model.subgraphs
        for index in graph.inputs:
            graph.tensors[index].name = "x"
        if not signatures:
            model.signatureDefs = None

    def two_inputs(model: Any) -> None:
        definition = next(d for d in model.signatureDefs if d.signatureKey == b"serving_default")
        definition.signatureKey = "score"
        model.subgraphs = [model.subgraphs[definition.subgraphIndex]]
        definition.subgraphIndex, model.signatureDefs = 0, [definition]
        change(model)

    content = (saved_models.version(make_litert) / "model.tflite").read_bytes()
    folder = write_version(tmp_path, 1, rewritten(content, two_inputs))
    if signatures:
        assert set(LiteRTEngine(folder).signatures) == {"score"}
    else:
        with pytest.raises(LoadError, match="two tensors of its main graph have the same name"):
            LiteRTEngine(folder)


def test_requests_may_name_tensors_as_tensorflow_serving_does(several: LiteRTEngine) -> None:
    """TensorFlow Serving knows models of TensorFlow 2's converter only by tensor names."""
    twice = (ONES * 2).tolist()
    assert ask(several, {"x": ONES}, "twice_float32") == {"y": twice}
    short = ask(several, {"twice_float32_x": ONES}, "twice_float32")
    assert short == {"PartitionedCall_6": twice}
    full = ask(several, {"twice_float32_x:0": ONES}, "twice_float32", "PartitionedCall_6:0")
    assert full == {"PartitionedCall_6:0": twice}


def test_outputs_keep_their_number_where_they_need_it(several: LiteRTEngine) -> None:
    """TensorFlow Serving returns only the last of tensors that differ only in the number."""
    feeds = {
        "serving_default_x": np.ones((2, 3), np.float32),
        "serving_default_scale": np.float32(3),
    }
    body = {name: np.asarray(feed) for name, feed in feeds.items()}
    scaled, total = [[3.0] * 3] * 2, [9.0] * 2
    assert ask(several, body) == {"PartitionedCall_5:0": scaled, "PartitionedCall_5:1": total}
    assert ask(several, body, "", "PartitionedCall_5:1") == {"PartitionedCall_5:1": total}


def test_json_may_name_tensors_too(several: LiteRTEngine) -> None:
    for body in (b'{"instances": [{"linear_x": [1, 1]}]}', b'{"inputs": {"linear_x": [[1, 1]]}}'):
        request = json_request.parse_predict(body)
        read = partial(json_request.feeds, request)
        prediction = predict(several, PredictQuery(read, "linear"))
        assert prediction.outputs["StatefulPartitionedCall"].tolist() == [[3.0]]


def test_the_error_for_an_unknown_name_names_the_signature(several: LiteRTEngine) -> None:
    with pytest.raises(StatusError, match=r"alias: x\(feed name: linear_x:0\) not found"):
        ask(several, {"linear_y": ONES}, "linear")


X = (1.0, 2.0, 3.0)
NAMES = [b"oak", b"ash", b""]
FULL = example(x=X, classes=NAMES, count=[4], ids=[1, 2], words=[b"\xff\0", b"ash"])


@pytest.fixture(scope="module")
def litert(saved_models: SavedModels) -> LiteRTEngine:
    return LiteRTEngine(saved_models.version(make_parsing))


@pytest.fixture(scope="module")
def tensorflow(saved_models: SavedModels) -> TensorFlowEngine:
    return TensorFlowEngine(saved_models.version(make_parsing))


def run(engine: Any, examples: Sequence[bytes], signature: str) -> Any:
    strings = np.empty(len(examples), object)
    strings[:] = examples
    signatures = engine.signatures[signature]
    (name,) = signatures.inputs
    try:
        outputs = engine.run(signature, {name: strings}, list(signatures.outputs))
    except StatusError as error:
        return error.code, error.message
    return {name: (array.dtype, array.shape, array.tolist()) for name, array in outputs.items()}


@pytest.mark.parametrize("signature", ["serving_default", "features"])
@pytest.mark.parametrize(
    "examples",
    [
        [FULL],
        [FULL, example(x=X), FULL, example(x=X, ids=[9], unknown=[1])],
        [example(x=X, words=[b""] * 5), example(x=X, ids=list(range(300)))],
        [example(x=X)] * 40,
    ],
    ids=["one", "several", "long lists", "many"],
)
def test_answers_are_tensorflows(litert, tensorflow, examples, signature):
    answer = run(litert, examples, signature)
    assert isinstance(answer, dict)
    assert answer == run(tensorflow, examples, signature)


@pytest.mark.parametrize(
    ("bad", "signature", "reason"),
    [
        (b"\xff\xff", "features", "Could not parse example input"),
        (example(y=X), "serving_default", "Feature: x (data type: float) is required but could"),
        (example(x=[1.0, 2.0]), "serving_default", "Number of float values != expected."),
        (example(x=[1, 2, 3]), "serving_default", "Data types don't match."),
        (example(x=X, classes=[b"a", b"b"]), "serving_default", "Key: classes, Index: 1."),
        (example(count=[1, 2]), "features", "Number of int64 values != expected."),
        (example(words=[1.0]), "features", "Data types don't match."),
    ],
    # Serialized messages have no fixed order of features, and test names must not change.
    ids=["no example", "missing", "few", "integers", "two classes", "two counts", "a number"],
)
def test_bad_examples_are_rejected_as_by_tensorflow(litert, tensorflow, bad, signature, reason):
    for engine in (litert, tensorflow):
        code, message = run(engine, [FULL, bad], signature)
        assert code == Code.INVALID_ARGUMENT
        assert reason in message
    assert isinstance(run(litert, [FULL], signature), dict)


def with_methods(content: bytes) -> bytes:
    """The same file with signatures for Classify and Regress, in TensorFlow Serving's format."""
    signature = '''inputs {{ key: "inputs" value {{ name: "serving_default_inputs:0" dtype: DT_STRING }} }}
    outputs {{ key: "{0}" value {{ name: "{1}" dtype: DT_FLOAT }} }} {2}
    method_name: "tensorflow/serving/{3}"'''
    classes = 'outputs { key: "classes" value { name: "classes" dtype: DT_STRING } }'
    texts = {
        "serving_default": signature.format("scores", "scores", classes, "classify"),
        "regress": signature.format("outputs", "first", "", "regress"),
    }
    messages = {name: text_format.Parse(text, SignatureDef()) for name, text in texts.items()}
    return with_signature_defs(content, messages)


def main_graph_of_classify(model: Any) -> None:
    """Only the graph of serving_default remains, with tensors named like the outputs."""
    definition = next(d for d in model.signatureDefs if d.signatureKey == b"serving_default")
    graph = model.subgraphs[definition.subgraphIndex]
    for entry in definition.outputs:
        graph.tensors[entry.tensorIndex].name = entry.name
    model.subgraphs, model.signatureDefs = [graph], None


def as_first_version(model: Any) -> None:
    """ParseExample instead of ParseExampleV2: each key is a tensor of its own."""
    main_graph_of_classify(model)
    (graph,) = model.subgraphs
    for code in model.operatorCodes:
        if code.customCode == b"ParseExampleV2":
            code.customCode = b"ParseExample"
    (op,) = (op for op in graph.operators if model.operatorCodes[op.opcodeIndex].customCode)
    serialized, names, _, keys, _, *defaults = op.inputs
    split = []
    # The format of strings: their number, where each begins and the last ends, and the bytes.
    for key in (b"classes", b"x"):
        buffer = type(model.buffers[0])()
        buffer.data = list(np.array([1, 12, 12 + len(key)], "<i4").tobytes() + key)
        tensor = type(graph.tensors[0])()
        tensor.name, tensor.shape, tensor.type = b"key", [1], graph.tensors[keys].type
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
        split.append(len(graph.tensors))
        graph.tensors.append(tensor)
    op.inputs = [serialized, names, *split, *defaults]


@pytest.mark.parametrize("change", [main_graph_of_classify, as_first_version])
def test_classify_and_regress(tmp_path: Path, saved_models: SavedModels, change: Any) -> None:
    content = (saved_models.version(make_parsing) / "model.tflite").read_bytes()
    content = with_methods(rewritten(content, change))
    engine = LiteRTEngine(write_version(tmp_path, 1, content))
    one = example(x=[0.5, 1.0, 1.5])
    answer = classify(engine, ExamplesQuery([FULL, one]), check_method=True)
    assert answer.labels == [["oak", "ash", ""], ["none"] * 3]
    assert answer.scores.tolist() == [[2, 4, 6], [1, 2, 3]]
    values = regress(engine, ExamplesQuery([FULL, one], "regress"), check_method=True).values
    assert values.tolist() == [1, 0.5]


def test_examples_that_are_no_input(tmp_path: Path, saved_models: SavedModels) -> None:
    def feed_a_constant(model: Any) -> None:
        main_graph_of_classify(model)
        (graph,) = model.subgraphs
        (op,) = (o for o in graph.operators if model.operatorCodes[o.opcodeIndex].customCode)
        op.inputs = [op.inputs[2], *op.inputs[1:]]

    content = (saved_models.version(make_parsing) / "model.tflite").read_bytes()
    with pytest.raises(LoadError, match=r"parses tf\.Examples that are not an input of the model"):
        LiteRTEngine(write_version(tmp_path, 1, rewritten(content, feed_a_constant)))
