"""SavedModels as TensorFlow Serving loads them: without variables, as text, with custom ops."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.tensorflow import TensorFlowEngine
from rockstar_serving.model_server.options import EngineOptions
from tests.saved_models import SavedModels, make_vocabulary
from tfs_api.status import Code, StatusError

TWO = np.full(1, 2, np.float32)
WORDS = np.array([b"birch", b"oak"], object)


def write(folder: Path, *, text: bool = False) -> None:
    """As TensorFlow 1 wrote: `serving_default` y = 3 x (a constant), with the tags "serve"."""
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


def answer(folder: Path, x: Any = TWO, output: str = "y", **options: Any) -> Any:
    engine = TensorFlowEngine(folder, EngineOptions(**options))
    outputs = engine.run("serving_default", {"x": x}, [output])
    engine.close()
    return outputs[output].tolist()


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
    """TensorFlow 2's exports have a checkpoint for them, too; behind a link, with an asset."""
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
    """Makes a version folder whose graph has an op that TensorFlow does not know."""

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
def test_an_op_of_a_package_that_is_not_installed(
    with_op: Any, monkeypatch: pytest.MonkeyPatch, op: str, package: str
) -> None:
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


def test_the_package_is_imported_for_its_op_alone(
    with_op: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in for it cannot register an op: it takes the op out of the model instead."""
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
def test_a_package_that_does_not_help(
    with_op: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
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
    file.write_bytes(file.read_bytes().replace(b"pyfunc_", b"unknown"))  # as in another process
    with pytest.raises(StatusError, match="the model calls a Python function, which") as caught:
        answer(tmp_path / "1", output="z")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert "Traceback" not in caught.value.message
