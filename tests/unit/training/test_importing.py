"""Imported models: published versions return the same results, and errors name the fix."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_contract.contract import CONTRACT_FILE, Contract, TensorInput
from rockstar_contract.inputs import prepare
from rockstar_contract.manifest import check_manifest
from rockstar_training.errors import TrainingError
from rockstar_training.importing import ImportOptions, import_model
from rockstar_training.readback import open_litert, open_saved_model
from rockstar_training.tensorflow_setup import keras, tf
from tests.command_line import invoke, invoke_json
from tests.images import png

SIGNATURE = "serving_default"
# Keras and TensorFlow 1 raise warnings about themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


def run(folder: Path, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of a version's SavedModel and LiteRT file."""
    _, saved = open_saved_model(folder)
    _, litert = open_litert((folder / "model.tflite").read_bytes())
    return saved(SIGNATURE, inputs), litert(SIGNATURE, inputs)


def publish(path: Path, folder: Path, name: str = "mine", **options: Any) -> Any:
    return import_model(path, folder / "models", ImportOptions(name=name, **options))


def save(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def save_function(function: Any, spec: Any, folder: Path) -> Path:
    """Save a function of one tensor as a SavedModel."""
    model = tf.Module()
    model.function = tf.function(function, input_signature=[spec])
    tf.saved_model.save(model, str(folder), signatures=model.function)
    return folder


def sequential(shape: tuple[int | None, ...], *layers: Any, dtype: str = "float32") -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def image_model(*, activation: str | None = "softmax", classes: int = 3, scale: bool = True) -> Any:
    return sequential(
        (8, 6, 3),
        *([keras.layers.Rescaling(1 / 255)] if scale else []),
        keras.layers.Conv2D(4, 3, kernel_initializer="he_normal"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(classes, activation=activation),
    )


def dense(width: int, outputs: int, activation: str | None = None) -> Any:
    return sequential((width,), keras.layers.Dense(outputs, activation=activation))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_an_image_classifier_predicts_as_before(tmp_path, suffix):
    model = image_model()
    labels = ("cat", "dog", "bird")
    imported = publish(save(model, tmp_path / f"pets{suffix}"), tmp_path, labels=labels)
    contract = Contract.from_json((imported.folder / CONTRACT_FILE).read_bytes())
    assert (contract.labels, contract.task, contract.version) == (labels, "classification", 1)
    assert contract.data_set is None
    check_manifest(imported.folder)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 6, 3)).astype(np.uint8)
    tensor = prepare(png(pixels), contract.input, field="x")[np.newaxis]
    wanted = model.predict(pixels[np.newaxis].astype(np.float32), verbose=0)
    for outputs in run(imported.folder, {"image": tensor}):
        np.testing.assert_allclose(outputs["probabilities"], wanted, atol=1e-5)
    assert any("0…255: it scales them itself" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ("0-1", lambda image: image / 255),
        ("0-255", lambda image: image),
        *[
            (mode, lambda image, mode=mode: _preprocessed(image, mode))
            for mode in ("tf", "torch", "caffe")
        ],
    ],
)
@pytest.mark.slow
def test_pixels_reach_the_model_as_it_was_trained(tmp_path, pixels, expected):
    model = image_model(scale=False, classes=2)
    imported = publish(save(model, tmp_path / "m.keras"), tmp_path, pixels=pixels)
    image = np.random.default_rng(1).integers(0, 256, (8, 6, 3)).astype(np.float32)
    wanted = model.predict(np.asarray(expected(image.copy()), np.float32)[np.newaxis], verbose=0)
    saved, _ = run(imported.folder, {"image": (image / 255)[np.newaxis].astype(np.float32)})
    np.testing.assert_allclose(saved["probabilities"], wanted, atol=1e-4)


def _preprocessed(image: Any, mode: str) -> Any:
    """As in the documentation of keras.applications, with modules that use these modes."""
    module = {
        "tf": keras.applications.mobilenet_v2,
        "torch": keras.applications.densenet,
        "caffe": keras.applications.resnet50,
    }[mode]
    return module.preprocess_input(image)


def test_logits_become_probabilities(tmp_path):
    model = dense(4, 3)
    model.layers[-1].set_weights([np.eye(4, 3) * 9, np.array([0.0, 5.0, -5.0])])
    imported = publish(
        save(model, tmp_path / "m.keras"), tmp_path, kind="table", labels=("a", "b", "c")
    )
    assert any("softmax is added" in note for note in imported.notes)
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    wanted = np.asarray(tf.nn.softmax(model.predict(rows, verbose=0)))
    for outputs in run(imported.folder, {"features": rows}):
        np.testing.assert_allclose(outputs["probabilities"], wanted, atol=1e-5)


def test_one_sigmoid_and_two_labels_are_a_classification(tmp_path):
    model = dense(2, 1, "sigmoid")
    meaning = {"kind": "table", "labels": ("no", "yes"), "columns": ("age", "income")}
    imported = publish(save(model, tmp_path / "m.keras"), tmp_path, **meaning)
    rows = np.array([[1, 2], [3, -4]], np.float32)
    yes = model.predict(rows, verbose=0)[:, 0]
    saved, _ = run(imported.folder, {"features": rows})
    np.testing.assert_allclose(saved["probabilities"], np.stack([1 - yes, yes], 1), atol=1e-6)
    row = prepare({"age": 1, "income": 2}, imported.contract.input, field="x")
    np.testing.assert_array_equal(row, rows[0])


def test_several_inputs_and_outputs_are_described_by_name(tmp_path):
    ids, price = keras.Input((5,), dtype="int32", name="ids"), keras.Input((1,), name="price")
    words = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(10, 3)(ids))
    both = keras.layers.Concatenate()([words, price])
    model = keras.Model(
        {"ids": ids, "price": price},
        {
            "score": keras.layers.Dense(1, activation="sigmoid")(both),
            "vector": keras.layers.Dense(2)(both),
        },
    )
    imported = publish(save(model, tmp_path / "m.keras"), tmp_path)
    spec = imported.contract.input
    assert isinstance(spec, TensorInput)
    found = [(t.name, t.dtype, t.shape) for t in spec.tensors]
    assert found == [("ids", "int32", (5,)), ("price", "float32", (1,))]
    outputs = [(t.name, t.shape) for t in imported.contract.outputs]
    assert outputs == [("score", (1,)), ("vector", (2,))]
    inputs = {
        "ids": np.array([[1, 2, 3, 4, 5], [9, 9, 9, 0, 0]], np.int32),
        "price": np.array([[0.5], [2]], np.float32),
    }
    wanted = model.predict(inputs, verbose=0)
    for outputs in run(imported.folder, inputs):
        for name in ("score", "vector"):
            np.testing.assert_allclose(outputs[name], wanted[name], atol=1e-5)
    with pytest.raises(TrainingError, match=r"several outputs \(score, vector\): name the one"):
        publish(tmp_path / "m.keras", tmp_path, "other", labels=("no", "yes"))
    labeled = publish(tmp_path / "m.keras", tmp_path, "other", labels=("no", "yes"), output="score")
    assert labeled.contract.labels == ("no", "yes")


class Shift(keras.layers.Layer):  # type: ignore[misc]
    """A layer that is unknown elsewhere."""

    def call(self, inputs: Any) -> Any:
        return inputs + 1.0


@pytest.mark.parametrize("file", ["own.keras", "own.h5"])
def test_a_layer_of_the_authors_own_is_named(tmp_path, file):
    sequential((4,), Shift(), keras.layers.Dense(2)).save(tmp_path / file)
    with pytest.raises(TrainingError, match="it has Shift, a layer or function of its") as caught:
        publish(tmp_path / file, tmp_path)
    assert "config" not in str(caught.value)
    assert "<class" not in str(caught.value)


def test_a_saved_model_that_was_copied_in_part(tmp_path):
    folder = tmp_path / "part"
    dense(4, 2).export(folder, verbose=False)
    (values,) = (folder / "variables").glob("*.data*")
    values.write_bytes(values.read_bytes()[:4])
    with pytest.raises(TrainingError, match=r"part lacks files, or they are cut off"):
        publish(folder, tmp_path)
    shutil.rmtree(folder / "variables")
    with pytest.raises(TrainingError, match=r"part lacks files, or they are cut off"):
        publish(folder, tmp_path)


def test_strings_and_operations_that_litert_has_not(tmp_path):
    def count(text: Any) -> Any:
        return {"length": tf.strings.length(text), "upper": tf.strings.upper(text)}

    spec = tf.TensorSpec([None], tf.string, name="text")
    imported = publish(save_function(count, spec, tmp_path / "text"), tmp_path)
    assert not (imported.folder / "model.tflite").exists()
    (note,) = [note for note in imported.notes if "without model.tflite" in note]
    # The missing parts, not pages of the converter's source.
    assert "\n" not in note
    assert "loc(" not in note
    assert "File" not in note
    _, saved = open_saved_model(imported.folder)
    outputs = saved(SIGNATURE, {"text": np.array([b"abc", b""], dtype=object)})
    assert outputs["length"].tolist() == [3, 0]
    assert outputs["upper"].tolist() == [b"ABC", b""]


def test_a_saved_model_of_tensorflow_1(tmp_path):
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        start = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
        weights = tf.compat.v1.get_variable("w", initializer=start, use_resource=False)
        y = tf.nn.softmax(tf.matmul(x, weights))
        session.run(tf.compat.v1.global_variables_initializer())
        rows = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
        wanted = session.run(y, {x: rows})
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": x}, {"y": y})
    imported = publish(tmp_path / "old", tmp_path, kind="table", labels=("a", "b", "c"))
    for outputs in run(imported.folder, {"features": rows}):
        np.testing.assert_allclose(outputs["probabilities"], wanted, atol=1e-5)


def test_sizes_that_vary_stay_so(tmp_path):
    pooling = keras.layers.GlobalAveragePooling1D()
    model = sequential((None,), keras.layers.Embedding(4, 3), pooling, dtype="int32")
    imported = publish(save(model, tmp_path / "m.keras"), tmp_path)
    (tensor,) = imported.contract.input.tensors
    assert tensor.shape == (None,)
    _, saved = open_saved_model(imported.folder)
    ids = np.ones((2, 7), np.int32)
    (answer,) = saved(SIGNATURE, {tensor.name: ids}).values()
    np.testing.assert_allclose(answer, model.predict(ids, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"labels": ("a", "b")},
            r"expected 3 names, as m.keras answers 3 values .* got 2; perhaps",
        ),
        ({"labels": ("a", "b", "a")}, "expected different names, got a twice"),
        ({"output": "y"}, "has no output y; it has output_0"),
        ({"image_size": (9, 9)}, "takes images of 8 x 6, not 9 x 9"),
        ({"kind": "table"}, r"a row is float \[None, columns\], its input is float32 \[None, 8, 6"),
    ],
)
def test_options_that_do_not_fit_the_model_are_errors(tmp_path, options, message):
    path = save(image_model(), tmp_path / "m.keras")
    with pytest.raises(TrainingError, match=message):
        publish(path, tmp_path, **options)
    assert not (tmp_path / "models" / "mine").exists()


def test_a_keras_2_file_with_obsolete_arguments_loads(tmp_path):
    """As written by Keras 2 and Teachable Machine."""
    import h5py

    layers = keras.layers
    before = layers.RandomFlip(), layers.DepthwiseConv2D(3), layers.Reshape((36, 3))
    model = sequential((8, 8, 3), *before, layers.Bidirectional(layers.LSTM(3)), layers.Softmax())
    path = save(model, tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        text = file.attrs["model_config"]
        for name, added in {
            "mode": '"rng_type": "stateful"',
            "depth_multiplier": '"groups": 1',
            "unroll": '"time_major": false',
        }.items():
            text = text.replace(f'"{name}"', f'{added}, "{name}"')
        file.attrs["model_config"] = text
    assert len(publish(path, tmp_path).contract.labels) == 6
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = text.replace('"groups": 1', '"groups": 3')
    with pytest.raises(TrainingError, match=r"to DepthwiseConv2D: .'groups': 3"):
        publish(path, tmp_path)


def test_a_saved_model_that_scales_pixels_gets_0_to_255(tmp_path):
    image_model().export(tmp_path / "m", verbose=False)
    imported = publish(tmp_path / "m", tmp_path)
    assert any("0…255: it scales them itself" in note for note in imported.notes)


def test_a_mask_is_returned_as_a_tensor(tmp_path):
    mask = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    model = sequential((6, 6, 3), mask)
    imported = publish(save(model, tmp_path / "m.keras"), tmp_path)
    assert imported.contract.outputs[0].shape == (6, 6, 1)


def test_images_of_any_size_need_one(tmp_path):
    after = keras.layers.GlobalMaxPooling2D(), keras.layers.Softmax()
    model = sequential((None, None, 1), keras.layers.Conv2D(2, 3), *after)
    path = save(model, tmp_path / "m.keras")
    with pytest.raises(TrainingError, match=r"any size .*--image-size 224"):
        publish(path, tmp_path)
    assert publish(path, tmp_path, image_size=(12, 16)).contract.input.shape == (12, 16, 1)


def test_code_is_not_run_unless_it_is_allowed(tmp_path):
    model = sequential((2,), keras.layers.Lambda(lambda x: x * 2))
    for suffix in (".keras", ".h5"):
        path = save(model, tmp_path / f"m{suffix}")
        with pytest.raises(TrainingError, match="holds a Lambda layer, which is Python code"):
            publish(path, tmp_path)


def test_files_are_not_touched_unless_it_is_allowed(tmp_path):
    paths = tf.TensorSpec([None], tf.string, name="path")
    read = lambda path: {"content": tf.map_fn(tf.io.read_file, path)}  # noqa: E731
    folder = save_function(read, paths, tmp_path / "reader")
    with pytest.raises(TrainingError, match=r"reads or writes files .*ReadFile"):
        publish(folder, tmp_path)


def test_a_fixed_batch_and_a_missing_signature(tmp_path):
    spec = tf.TensorSpec([1, 2], tf.float32, name="x")
    fixed = save_function(lambda x: {"y": x}, spec, tmp_path / "fixed")
    message = r"a batch of 1, shape \[1, 2\]: save the model for any"
    with pytest.raises(TrainingError, match=message):
        publish(fixed, tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(TrainingError, match="has no signature, which would describe its inputs"):
        publish(tmp_path / "none", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.keras", b"x", "it is no .keras file, or a damaged one"),
        ("m.h5", b"x", "is no HDF5 file, or a damaged one"),
        ("m.pkl", b"x", "it is a pickle, which is not loaded here"),
        ("m.onnx", b"x", "it is an ONNX model"),
        ("m.tflite", b"x", r"rockstar serve runs it from models/NAME/1/model\.tflite"),
        ("hf/tf_model.h5", b"x", "weights without a model. With transformers"),
        ("empty/readme", b"x", r"expected a folder with saved_model\.pb, got none in it"),
        ("bad/saved_model.pb", b"x", "is damaged"),
    ],
)
def test_a_path_without_a_model_is_an_error(tmp_path, name, content, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    named = path if path.parent == tmp_path else path.parent
    with pytest.raises(TrainingError, match=message):
        publish(named, tmp_path)


def test_the_version_of_keras_that_wrote_a_file_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "2.15.0"}')
        archive.writestr("config.json", '{"class_name": "Old", "config": {}}')
    with pytest.raises(TrainingError, match=r"Keras 2\.15\.0 wrote it; .*tf\.saved_model\.save"):
        publish(tmp_path / "m.keras", tmp_path)


def test_a_class_without_a_name_is_an_error(tmp_path):
    import h5py

    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = '{"class_name": ["Lambda"]}'
    with pytest.raises(TrainingError, match="cannot be loaded by Keras"):
        publish(tmp_path / "m.h5", tmp_path)


def test_weights_alone_are_no_model(tmp_path):
    image_model().save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(TrainingError, match="holds weights without a model"):
        publish(tmp_path / "m.weights.h5", tmp_path)


def test_another_promise_under_the_same_name_is_refused(tmp_path):
    path = save(dense(2, 2, "softmax"), tmp_path / "m.keras")
    publish(path, tmp_path, kind="table", labels=("a", "b"))
    with pytest.raises(TrainingError, match="the labels c, d"):
        publish(path, tmp_path, kind="table", labels=("c", "d"))
    imported = publish(path, tmp_path, kind="table", labels=("c", "d"), replace=True)
    assert imported.folder.name == "2"


def test_the_command_prints_the_published_version_and_assumptions(tmp_path):
    path = save(dense(2, 2), tmp_path / "m.keras")
    options = ("--name", "m", "--input", "table", "--models", tmp_path / "models")
    found = invoke_json("import", path, *options)
    assert (found["model"], found["version"], found["labels"]) == ("m", 1, ["0", "1"])
    assert any("logits" in note for note in found["notes"])
    result = invoke("import", path, *options, "--labels", "a,b,c")
    assert result.exit_code == 1
    assert "--labels: expected 2 names" in result.stderr


def test_code_that_is_allowed_is_run(tmp_path):
    model = sequential((2,), keras.layers.Lambda(lambda x: x * 2))
    imported = publish(save(model, tmp_path / "m.keras"), tmp_path, allow_code=True)
    (name,) = [tensor.name for tensor in imported.contract.input.tensors]
    saved, litert = run(imported.folder, {name: np.ones((1, 2), np.float32)})
    assert [*saved.values()][0].tolist() == [*litert.values()][0].tolist() == [[2, 2]]  # noqa: RUF015


def test_labels_from_files(tmp_path):
    from rockstar_cli.transfer import parse_names

    files = {
        "lines.txt": ("cat\ndog\n", ("cat", "dog")),
        "numbered.txt": ("0 cat\n1 dog\n", ("cat", "dog")),
        "list.json": (json.dumps(["cat", "dog"]), ("cat", "dog")),
        "config.json": (json.dumps({"id2label": {"1": "dog", "0": "cat"}}), ("cat", "dog")),
        "imagenet.json": (json.dumps({"0": ["n01", "cat"], "1": ["n02", "dog"]}), ("cat", "dog")),
    }
    for name, (text, wanted) in files.items():
        (tmp_path / name).write_text(text)
        assert parse_names(str(tmp_path / name)) == wanted
    assert parse_names("cat, dog") == ("cat", "dog")


def test_a_wrong_path_is_an_error_before_tensorflow_is_loaded(tmp_path):
    done = invoke("import", tmp_path / "absent.keras", "--name=x")
    assert done.exit_code == 2
    assert "absent.keras: no such file or folder" in done.output
    assert "Loading TensorFlow" not in done.output
