"""TensorFlow behind the engine's interface, and SavedModels that do not load."""

import itertools
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.core import PredictQuery, predict
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.tensorflow import TensorFlowEngine
from rockstar_serving.model_server.options import EngineOptions
from tests.fake_engine import refusal
from tests.litert_models import make_both
from tests.saved_models import (
    SavedModels,
    make_composite,
    make_defaults,
    make_dtypes,
    make_shapes,
    make_tf1,
    make_vocabulary,
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
def test_signatures_are_those_of_the_model(saved_models, make):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder = saved_models.version(make)
    (graph,) = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    signatures = TensorFlowEngine(folder).signatures
    assert set(signatures) == set(graph.signature_def)
    for name, official in graph.signature_def.items():
        ours = signature_def(signatures[name]).SerializeToString()
        assert type(official).FromString(ours) == official


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
def test_errors_of_operations(shapes, signature, feeds, output, message):
    inputs = shapes.signatures[signature].inputs
    cast = {name: feed.astype(inputs[name].dtype) for name, feed in feeds.items()}
    code, text = refusal(shapes.run, signature, cast, [output])
    assert code == Code.INVALID_ARGUMENT
    # As in TensorFlow Serving: the message and the node.
    assert text.startswith(message)
    assert "\n\t [[{{" in text
    assert "Graph execution error" not in text


def test_only_fetched_outputs_are_computed(shapes: TensorFlowEngine, tf1: TensorFlowEngine) -> None:
    feeds = {"x": np.ones((1, 3), np.float32), "scale": np.array(2, np.float32)}
    for fetches in (["total"], ["total", "scaled"], ["scaled", "total"], ["scaled"]):
        assert list(shapes.run("serving_default", feeds, fetches)) == fetches


def test_requests_for_ever_different_outputs(tmp_path: Path) -> None:
    import tensorflow as tf

    names = [f"y{number}" for number in range(5)]

    @tf.function(input_signature=[tf.TensorSpec([], name="x")])  # type: ignore[untyped-decorator]
    def many(x: Any) -> Any:
        return {name: x + number for number, name in enumerate(names)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures=many)
    engine = TensorFlowEngine(tmp_path / "1")
    subsets = [s for size in range(1, 6) for s in itertools.combinations(names, size)]
    for fetches in subsets:
        outputs = engine.run("serving_default", {"x": np.array(1, np.float32)}, list(fetches))
        assert outputs == {name: 1 + names.index(name) for name in fetches}
    engine.close()


def test_a_deadline_stops_a_run(shapes: TensorFlowEngine) -> None:
    feeds = {"times": np.array(2**31 - 1, np.int32)}  # hours
    assert (
        refusal(shapes.run, "slow", feeds, ["y"], Deadline.after(0.05))[0] == Code.DEADLINE_EXCEEDED
    )
    soon = {"times": np.array(3, np.int32)}
    assert shapes.run("slow", soon, ["y"], Deadline.after(600))["y"] == 3


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


def test_the_session_rejects_another_dtype(tf1: TensorFlowEngine) -> None:
    with pytest.raises(StatusError, match="to be float but int32 is provided") as caught:
        ask(tf1, {"x": np.ones((1, 2), np.int32)})
    assert caught.value.code == Code.INVALID_ARGUMENT
    with pytest.raises(StatusError, match="to be string but float is provided"):
        ask(tf1, {"inputs": FLOATS}, "classify")


def test_fewer_dimensions_than_a_convolution_takes(saved_models: SavedModels) -> None:
    """With oneDNN they would crash the process; signatures without convolutions accept them."""
    engine = TensorFlowEngine(saved_models.version(make_both))
    with pytest.raises(StatusError, match="a convolution takes no fewer") as caught:
        ask(engine, {"image": np.ones((4, 4, 1), np.float32)}, "convolved")
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert ask(engine, {"x": np.float32(3)}, "twice_float32")["y"] == 6


def test_a_signature_without_a_shape() -> None:
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


TWO = np.full(1, 2, np.float32)
WORDS = np.array([b"birch", b"oak"], object)


def write(folder: Path, *, text: bool = False) -> None:
    """A model of TensorFlow 1: `serving_default` y = 3 x (a constant), with the tag "serve"."""
    import tensorflow as tf

    builder = tf.compat.v1.saved_model.Builder(str(folder))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        add(builder.add_meta_graph_and_variables, ["serve"], x, x * 3, sess=session)
    builder.save(as_text=text)


def write_two(folder: Path) -> None:
    """Two graphs that share a variable: y = 3 x with "serve", y = 6 x with "gpu" and "serve"."""
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    with tf.Graph().as_default(), v1.Session() as session:
        x, weight = v1.placeholder(tf.float32, [None]), v1.get_variable("weight", initializer=3.0)
        session.run(v1.global_variables_initializer())
        add(builder.add_meta_graph_and_variables, ["serve"], x, x * weight, sess=session)
    with tf.Graph().as_default():
        x, weight = v1.placeholder(tf.float32, [None]), v1.get_variable("weight", initializer=0.0)
        add(builder.add_meta_graph, ["serve", "gpu"], x, x * weight * 2)
    builder.save()


def add(method: Any, tags: Sequence[str], x: Any, y: Any, **session: Any) -> None:
    import tensorflow as tf

    utils = tf.compat.v1.saved_model.signature_def_utils
    signatures = {"serving_default": utils.predict_signature_def({"x": x}, {"y": y})}
    method(tags=tags, signature_def_map=signatures, **session)


def rewrite_signatures(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the signatures of a SavedModel, by name."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0].signature_def)
    file.write_bytes(model.SerializeToString())


def answer(folder: Path, x: Any = TWO, output: str = "y", **options: Any) -> Any:
    engine = TensorFlowEngine(folder, EngineOptions(**options))
    outputs = engine.run("serving_default", {"x": x}, [output])
    engine.close()
    return outputs[output].tolist()


def test_names_of_tensors_without_an_index(tmp_path: Path) -> None:
    def remove_index(signatures: Any) -> None:
        signature = signatures["serving_default"]
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            info.name = info.name.removesuffix(":0")

    write(tmp_path / "1")
    rewrite_signatures(tmp_path / "1", remove_index)
    assert answer(tmp_path / "1") == [6.0]


def test_a_signature_of_missing_tensors_fails_alone(tmp_path: Path) -> None:
    def add_broken(signatures: Any) -> None:
        signatures["broken"].CopyFrom(signatures["serving_default"])
        signatures["broken"].outputs["y"].name = "absent:0"

    write(tmp_path / "1")
    rewrite_signatures(tmp_path / "1", add_broken)
    assert answer(tmp_path / "1") == [6.0]
    engine = TensorFlowEngine(tmp_path / "1")
    with pytest.raises(StatusError, match=r"^Tensor absent:0, specified in either") as caught:
        engine.run("broken", {"x": TWO}, ["y"])
    assert caught.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("folder_is_there", [False, True])
def test_a_graph_of_constants(tmp_path: Path, *, text: bool, folder_is_there: bool) -> None:
    write(tmp_path / "1", text=text)
    (tmp_path / "1" / "variables").rmdir()
    if folder_is_there:
        (tmp_path / "1" / "variables").mkdir()
    assert answer(tmp_path / "1") == [6]


def test_text_with_variables_and_two_sets_of_tags(tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder = tmp_path / "1"
    write_two(folder)
    assert answer(folder) == [6]
    assert answer(folder, saved_model_tags=frozenset({"gpu", "serve"})) == [12]
    model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pbtxt").write_text(text_format.MessageToString(model))
    assert answer(folder) == [6]
    shutil.rmtree(folder / "variables")
    reason = (
        r"variables\.index is missing, and the graph needs the variables weight: copy the whole"
    )
    with pytest.raises(LoadError, match=reason):
        TensorFlowEngine(folder)


def test_tables_without_variables(saved_models: SavedModels, tmp_path: Path) -> None:
    """TensorFlow 2's exports also have a checkpoint for them; here behind a link, with an asset."""
    folder = shutil.copytree(saved_models.version(make_vocabulary), tmp_path / "export")
    before = TensorFlowEngine(folder).signatures["serving_default"]
    (name,), (output,) = before.inputs, before.outputs
    shutil.rmtree(folder / "variables")
    (folder / "fingerprint.pb").unlink()
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "saved_model_config.pb").write_bytes(b"not read")
    (tmp_path / "1").symlink_to(folder)
    engine = TensorFlowEngine(tmp_path / "1")
    engine.run("serving_default", {name: WORDS}, [output])
    engine.close()
    next((folder / "assets").iterdir()).unlink()
    with pytest.raises(LoadError, match=rf"{folder.parent}/1/assets/\S+; No such file"):
        TensorFlowEngine(tmp_path / "1")


@pytest.fixture
def with_op(tmp_path: Path) -> Any:
    """Write a version folder whose graph has an op that TensorFlow does not know."""

    def make(op: str) -> Path:
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        write(tmp_path / "1")
        path = tmp_path / "1" / "saved_model.pb"
        model = SavedModel.FromString(path.read_bytes())
        shutil.copy(path, tmp_path / "known.pb")
        next(node for node in model.meta_graphs[0].graph_def.node if node.op == "Mul").op = op
        path.write_bytes(model.SerializeToString())
        return tmp_path / "1"

    return make


@pytest.mark.parametrize(
    ("op", "package"),
    [
        ("CaseFoldUTF8", "tensorflow-text"),
        ("TFText>FastSentencepieceTokenize", "tensorflow-text"),
        ("SentencepieceOp", "tensorflow-text"),
        ("SimpleMLInferenceOpWithHandle", "ydf-tf"),
    ],
)
def test_an_op_of_a_package_that_is_not_installed(with_op, monkeypatch, op, package):
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    reason = rf"the model needs the op {op} from {package}: pip install '{package}==2\.\d+\.\*'"
    with pytest.raises(LoadError, match=reason):
        TensorFlowEngine(with_op(op))


def test_an_op_that_no_package_has(with_op: Any) -> None:
    with pytest.raises(LoadError, match="needs the op Frobnicate, which neither TensorFlow nor"):
        TensorFlowEngine(with_op("Frobnicate"))


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "tensorflow_text.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "tensorflow_text", raising=False)


def test_the_package_is_imported_for_its_op_alone(with_op, tmp_path, monkeypatch):
    """The test's package cannot register an op, so it removes the op from the model instead."""
    folder = with_op("CaseFoldUTF8")
    replace = f"import shutil\nshutil.copy({str(tmp_path / 'known.pb')!r}, {str(folder / 'saved_model.pb')!r})"
    package(tmp_path, monkeypatch, replace)
    write(tmp_path / "2")
    assert answer(tmp_path / "2") == [6]
    assert "tensorflow_text" not in sys.modules
    assert answer(folder) == [6]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('undefined symbol')", r"cannot be imported \(undefined symbol\): pip"),
        ("", "Op type not registered 'CaseFoldUTF8'"),
    ],
    ids=["of another version", "without the op"],
)
def test_a_package_that_does_not_help(with_op, tmp_path, monkeypatch, code, reason):
    package(tmp_path, monkeypatch, code)
    with pytest.raises(LoadError, match=reason):
        TensorFlowEngine(with_op("CaseFoldUTF8"))


def numpy_function(x: Any) -> Any:
    import tensorflow as tf

    return tf.ensure_shape(tf.numpy_function(np.negative, [x], tf.float32), [None])


def test_a_graph_that_calls_python_does_not_load(tmp_path: Path) -> None:
    import tensorflow as tf

    builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "1"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        add(builder.add_meta_graph_and_variables, ["serve"], x, numpy_function(x), sess=session)
    builder.save()
    with pytest.raises(
        LoadError, match="to support Op 'PyFunc': the model calls a Python function"
    ):
        answer(tmp_path / "1")


def test_a_function_that_calls_python_fails_alone(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.f = tf.function(
        lambda x: {"y": x * 3, "z": numpy_function(x)},
        input_signature=[tf.TensorSpec([None], tf.float32, "x")],
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.f)
    file = tmp_path / "1" / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"pyfunc_", b"unknown"))  # like a new process
    with pytest.raises(StatusError, match="the model calls a Python function, which") as caught:
        answer(tmp_path / "1", output="z")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert "Traceback" not in caught.value.message
