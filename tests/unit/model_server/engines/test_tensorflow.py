"""TensorFlow behind the engine's interface; its answers are compared in test_against_tensorflow."""

import itertools
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.core import PredictQuery, predict
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.tensorflow import TensorFlowEngine
from rockstar_serving.model_server.options import EngineOptions
from tests.litert_models import make_both, make_heavy
from tests.memory import resident_mb
from tests.saved_models import (
    SavedModels,
    example,
    make_composite,
    make_defaults,
    make_dtypes,
    make_shapes,
    make_tf1,
)
from tfs_api.messages.signature_pb2 import SignatureDef, TensorInfo
from tfs_api.messages.tensor_pb2 import DT_FLOAT
from tfs_api.signature import signature_def, signature_of
from tfs_api.status import Code, StatusError

FLOATS = np.ones(4, np.float32)


@pytest.fixture(scope="module")
def shapes(saved_models: SavedModels) -> TensorFlowEngine:
    return TensorFlowEngine(saved_models.version(make_shapes))


@pytest.fixture(scope="module")
def tf1(saved_models: SavedModels) -> TensorFlowEngine:
    return TensorFlowEngine(saved_models.version(make_tf1))


def ask(engine: TensorFlowEngine, feeds: dict[str, Any], signature: str = "") -> dict[str, Any]:
    return predict(engine, PredictQuery(lambda _: feeds, signature)).outputs


@pytest.mark.parametrize("make", [make_tf1, make_shapes, make_composite, make_defaults])
def test_signatures_are_told_as_the_model_tells_them(
    saved_models: SavedModels, make: Callable[[Path], None]
) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder = saved_models.version(make)
    (graph,) = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    signatures = TensorFlowEngine(folder).signatures
    assert set(signatures) == set(graph.signature_def)
    for name, official in graph.signature_def.items():
        ours = signature_def(signatures[name]).SerializeToString()
        assert type(official).FromString(ours) == official


def test_method_names(tf1: TensorFlowEngine) -> None:
    methods = {name: signature.method_name for name, signature in tf1.signatures.items()}
    assert methods == {
        "serving_default": "tensorflow/serving/predict",
        "classify": "tensorflow/serving/classify",
        "classify_scores": "tensorflow/serving/classify",
        "classify_classes": "tensorflow/serving/classify",
        "regress": "tensorflow/serving/regress",
    }


@pytest.mark.parametrize(
    ("signature", "feeds", "output", "message"),
    [
        ("divided", {"a": FLOATS, "b": FLOATS * 0}, "y", "Integer division by zero"),
        (
            "as_rows",
            {"x": FLOATS},
            "rows",
            "Input to reshape is a tensor with 4 values, but the requested shape requires a "
            "multiple of 3",
        ),
        ("checked", {"x": -FLOATS}, "y", "assertion failed: [x must not be below 0."),
    ],
)
def test_what_an_operation_finds_wrong(
    shapes: TensorFlowEngine, signature: str, feeds: dict[str, Any], output: str, message: str
) -> None:
    inputs = shapes.signatures[signature].inputs
    cast = {name: feed.astype(inputs[name].dtype) for name, feed in feeds.items()}
    with pytest.raises(StatusError) as caught:
        shapes.run(signature, cast, [output])
    assert caught.value.code == Code.INVALID_ARGUMENT
    # As TensorFlow Serving gives it: the message, and which node it was.
    assert caught.value.message.startswith(message)
    assert "\n\t [[{{" in caught.value.message
    assert "Graph execution error" not in caught.value.message


def test_examples_that_cannot_be_parsed(tf1: TensorFlowEngine) -> None:
    with pytest.raises(StatusError, match="Could not parse example input") as caught:
        tf1.run("classify", {"inputs": np.array([b"no example"], object)}, ["scores"])
    assert caught.value.code == Code.INVALID_ARGUMENT
    with pytest.raises(StatusError, match=r"Feature: x .* is required"):
        tf1.run("classify", {"inputs": np.array([example(y=[1.0])], object)}, ["scores"])


def test_what_is_not_fetched_is_not_run(shapes: TensorFlowEngine, tf1: TensorFlowEngine) -> None:
    feeds = {"x": np.ones((1, 3), np.float32), "scale": np.array(2, np.float32)}
    for fetches in (["total"], ["total", "scaled"], ["scaled", "total"], ["scaled"]):
        assert list(shapes.run("serving_default", feeds, fetches)) == fetches


def test_callers_who_want_ever_other_outputs(tmp_path: Path) -> None:
    import tensorflow as tf

    names = [f"y{number}" for number in range(5)]

    @tf.function(input_signature=[tf.TensorSpec([], name="x")])  # type: ignore[untyped-decorator]
    def many(x: Any) -> Any:
        return {name: x + number for number, name in enumerate(names)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures=many)
    engine = TensorFlowEngine(tmp_path / "1")
    subsets = [s for size in range(1, 6) for s in itertools.combinations(names, size)]
    for fetches in subsets:
        outputs = engine.run("serving_default", {"x": np.array(1, np.float32)}, fetches)
        assert outputs == {name: 1 + names.index(name) for name in fetches}
    engine.close()


def test_a_deadline_stops_a_run(shapes: TensorFlowEngine) -> None:
    feeds = {"times": np.array(2**31 - 1, np.int32)}  # hours
    with pytest.raises(StatusError) as caught:
        shapes.run("slow", feeds, ["y"], Deadline.after(0.05))
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    soon = {"times": np.array(3, np.int32)}
    assert shapes.run("slow", soon, ["y"], Deadline.after(600))["y"] == 3


def test_a_deadline_that_has_passed_starts_nothing(shapes: TensorFlowEngine) -> None:
    with pytest.raises(StatusError) as caught:
        shapes.run("constant", {}, ["y"], Deadline.after(-1))
    assert caught.value.code == Code.DEADLINE_EXCEEDED


def test_threads_do_not_disturb_each_other(tf1: TensorFlowEngine) -> None:
    together = threading.Barrier(4)
    weights = np.array([[1, -1], [2, -2]], np.float32)

    def call(seed: int) -> None:
        x = np.random.default_rng(seed).random((seed + 1, 2), np.float32)
        together.wait(30)
        for _ in range(50):
            outputs = tf1.run("serving_default", {"x": x}, ["scores"])
            np.testing.assert_allclose(outputs["scores"], x @ weights, rtol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(4)))


def test_outputs_outlive_the_engine(saved_models: SavedModels) -> None:
    engine = TensorFlowEngine(saved_models.version(make_dtypes))
    feeds = {"text": np.array([[b"a\0b", b""]], object)}
    text = engine.run("shouted", feeds, ["text_bytes"])["text_bytes"]
    numbers = engine.run("twice_int64", {"x": np.ones((1, 2), np.int64)}, ["y"])["y"]
    engine.close()
    assert text.tolist() == [[b"A\0B", b""]]
    assert numbers.tolist() == [[2, 2]]


def test_the_model_outlives_its_folder(saved_models: SavedModels, tmp_path: Path) -> None:
    folder = shutil.copytree(saved_models.version(make_both), tmp_path / "1")
    engine = TensorFlowEngine(folder)
    shutil.rmtree(folder)
    outputs = engine.run("linear", {"x": np.ones((1, 2), np.float32)}, ["y"])
    assert outputs["y"].tolist() == [[3]]
    engine.close()


def test_what_is_closed_is_freed(saved_models: SavedModels) -> None:
    """8 MB of weights, so that ten engines that stayed would be seen."""
    folder = saved_models.version(make_heavy)

    def load_and_run() -> None:
        engine = TensorFlowEngine(folder)
        engine.run("serving_default", {"x": np.ones((1, 1000), np.float32)}, ["y"])
        engine.close()

    for _ in range(3):
        load_and_run()
    before = resident_mb()
    for _ in range(10):
        load_and_run()
    assert resident_mb() - before < 40


def test_inputs_with_defaults(saved_models: SavedModels) -> None:
    engine = TensorFlowEngine(saved_models.version(make_defaults))
    x, scale = np.ones(2, np.float32), np.array(5, np.float32)
    for feeds, right in (({"x": x}, 2), ({"x": x, "scale": scale}, 5)):
        assert ask(engine, feeds)["y"].tolist() == [right, right]
    with pytest.raises(StatusError, match=r"alias: x\(feed name: serving_default_x:0\) not found"):
        ask(engine, {"scale": scale})


def test_sparse_and_ragged_tensors_are_refused(saved_models: SavedModels) -> None:
    engine = TensorFlowEngine(saved_models.version(make_composite))
    ones = np.ones(2, np.float32)
    assert engine.run("serving_default", {"x": ones}, ["y"])["y"].tolist() == [2, 2]
    with pytest.raises(StatusError, match='x of the signature "sparse" is a sparse or') as caught:
        ask(engine, {"x": np.ones((2, 2), np.float32)}, "sparse")
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_another_dtype_is_what_the_session_finds_wrong(tf1: TensorFlowEngine) -> None:
    with pytest.raises(StatusError, match="to be float but int32 is provided") as caught:
        ask(tf1, {"x": np.ones((1, 2), np.int32)})
    assert caught.value.code == Code.INVALID_ARGUMENT
    with pytest.raises(StatusError, match="to be string but float is provided"):
        ask(tf1, {"inputs": FLOATS}, "classify")


def test_fewer_dimensions_than_a_convolution_takes(saved_models: SavedModels) -> None:
    """With oneDNN they would end the process; signatures without convolutions take them."""
    engine = TensorFlowEngine(saved_models.version(make_both))
    with pytest.raises(StatusError, match="a convolution takes no fewer") as caught:
        ask(engine, {"image": np.ones((4, 4, 1), np.float32)}, "convolved")
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert ask(engine, {"x": np.float32(3)}, "twice_float32")["y"] == 6


def test_a_signature_that_does_not_tell_a_shape() -> None:
    message = SignatureDef(inputs={"x": TensorInfo(name="x:0", dtype=DT_FLOAT)})
    assert signature_of(message).inputs["x"].shape is None
    message.inputs["x"].tensor_shape.SetInParent()
    assert signature_of(message).inputs["x"].shape == ()


def test_the_initializer_cannot_be_called(shapes: TensorFlowEngine) -> None:
    with pytest.raises(StatusError, match="has no output that a message holds") as caught:
        ask(shapes, {}, "__saved_model_init_op")
    assert caught.value.code == Code.INVALID_ARGUMENT


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


BREAK: dict[str, Callable[[Path], object]] = {
    "a graph that is cut off": lambda folder: truncate(folder / "saved_model.pb"),
    "another file": lambda folder: (folder / "saved_model.pb").write_bytes(b"junk" * 100),
    "no variables": lambda folder: shutil.rmtree(folder / "variables"),
    "no values": lambda folder: next(folder.glob("variables/*.data*")).unlink(),
    "values that are cut off": lambda folder: next(folder.glob("variables/*.data*")).write_bytes(
        b"x"
    ),
    "an unknown operation": lambda folder: (folder / "saved_model.pb").write_bytes(
        (folder / "saved_model.pb").read_bytes().replace(b"MatMul", b"MatMux")
    ),
}


@pytest.mark.parametrize("how", BREAK)
def test_damage(saved_models: SavedModels, tmp_path: Path, how: str) -> None:
    folder = shutil.copytree(saved_models.version(make_both), tmp_path / "1")
    BREAK[how](folder)
    with pytest.raises(LoadError) as caught:
        TensorFlowEngine(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder} cannot be loaded by TensorFlow: ")
    assert "Traceback" not in message
    assert "b'" not in message


def test_tags(saved_models: SavedModels) -> None:
    folder = saved_models.version(make_both)
    options = EngineOptions(saved_model_tags=frozenset({"serve", "gpu"}))
    with pytest.raises(LoadError, match=r"no graph for --saved_model_tags=gpu,serve: .*'serve'"):
        TensorFlowEngine(folder, options)


def test_options_reach_the_session(saved_models: SavedModels) -> None:
    options = EngineOptions(intra_op_threads=2, inter_op_threads=3, gpu_memory_fraction=0.25)
    engine = TensorFlowEngine(saved_models.version(make_shapes), options)
    config = engine._session._config
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (2, 3)
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.25
    assert engine.run("constant", {}, ["y"])["y"].tolist() == [1, 2, 3]
    engine.close()
