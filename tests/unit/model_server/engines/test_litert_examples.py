"""LiteRT models that parse tf.Examples, against TensorFlow on the SavedModel they were made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.engines.tensorflow import TensorFlowEngine
from rockstar_serving.model_server.examples import ExamplesQuery, classify, regress
from tests.litert_models import make_parsing, rewritten, with_signature_defs
from tests.model_fixtures import write_version
from tests.saved_models import SavedModels, example
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.status import Code, StatusError

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
def test_answers_are_tensorflows(
    litert: LiteRTEngine, tensorflow: TensorFlowEngine, examples: list[bytes], signature: str
) -> None:
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
    # Serialized messages list their features in any order, and names of tests must not change.
    ids=["no example", "missing", "few", "integers", "two classes", "two counts", "a number"],
)
def test_bad_examples_are_rejected_as_by_tensorflow(
    litert: LiteRTEngine, tensorflow: TensorFlowEngine, bad: bytes, signature: str, reason: str
) -> None:
    for engine in (litert, tensorflow):
        code, message = run(engine, [FULL, bad], signature)
        assert code == Code.INVALID_ARGUMENT
        assert reason in message
    assert isinstance(run(litert, [FULL], signature), dict)


def with_methods(content: bytes) -> bytes:
    """The same file with signatures for Classify and Regress, as TensorFlow Serving reads them."""
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
    """Only the graph of serving_default stays, with tensors named as the outputs."""
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
    with pytest.raises(LoadError, match=r"parses tf\.Examples that are no input of the model"):
        LiteRTEngine(write_version(tmp_path, 1, rewritten(content, feed_a_constant)))
