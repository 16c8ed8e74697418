"""Loading models from elsewhere: Keras files and SavedModels, without running their code.

Keras files are exported to a SavedModel first, so that every model is a function of named tensors.
Models that could run code of their author are rejected unless it is allowed: Lambda layers contain
Python code, and some operations read and write files of this machine.
"""

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from rockstar_contract.contract import CONTRACT_SIGNATURE, PREDICT_SIGNATURE
from rockstar_training.errors import TrainingError
from rockstar_training.tensorflow_setup import SavedModel, keras, quiet_native_log, tf

_KERAS_FILES = (".keras", ".h5", ".hdf5")
_SAVED_MODEL = "saved_model.pb"
# Operations that access files; `saved_model_cli scan` of TensorFlow warns of the first two, too.
_FILE_OPERATIONS = {"ReadFile", "WriteFile", "MatchingFiles"}
# Variables of TensorFlow 1.
_OLD_VARIABLES = {"Variable", "VariableV2"}
# Calls of Python functions of the process that saved the model, which no other process can run.
_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_OTHERS = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "a pickle"),
    **dict.fromkeys((".pt", ".pth"), "a PyTorch model"),
    **dict.fromkeys((".safetensors", ".ckpt"), "weights without a model"),
    ".onnx": "an ONNX model",
    ".pb": "a graph",
}
# Arguments of layers that Keras 2 and Teachable Machine write into .h5 files and Keras 3 rejects,
# with the value that leaves the layer as it is in Keras 3; None if any value does.
_KERNEL = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
_RANDOM = ("Flip", "Rotation", "Zoom", "Contrast", "Translation", "Crop", "Brightness")
_OBSOLETE: dict[str, dict[str, Any]] = {
    "DepthwiseConv2D": {"groups": 1},
    "SeparableConv2D": {"groups": 1, **dict.fromkeys(_KERNEL)},
    **{name: {"time_major": False} for name in ("LSTM", "GRU", "SimpleRNN")},
    **{f"Random{name}": {"rng_type": None} for name in _RANDOM},
}
_WEIGHTS = ("tf_model.h5", "pytorch_model.bin", "model.safetensors")


class ImportModelError(TrainingError):
    """A model that cannot be imported; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Source:
    """A model as a function of named tensors."""

    name: str  # of the file or folder
    trackables: tuple[Any, ...]  # own variables, tables and assets; a saved module refers to them
    call: Any  # maps tensors by name to tensors by name
    inputs: dict[str, Any]  # the tf.TensorSpec of each input
    outputs: dict[str, Any]  # the tf.TensorSpec of each output
    layers: tuple[str, ...] = ()  # classes of a Keras model's layers, or such as "rescaling"


@contextmanager
def opened(path: Path, signature: str | None, *, allow_code: bool) -> Iterator[Source]:
    """Load a .keras or .h5 file, or a folder with a SavedModel, for the duration of the block.

    The arguments are those of ImportOptions. Raises an ImportModelError if there is no model, or it
    cannot be loaded safely.
    """
    if path.suffix in _KERAS_FILES and path.is_file():
        with tempfile.TemporaryDirectory(prefix="rockstar-import-") as exported:
            model = _keras_model(path, allow_code=allow_code)
            try:
                with quiet_native_log():
                    _without_training(model).export(
                        exported, format="tf_saved_model", verbose=False
                    )
            except Exception as error:  # whatever the layers of a model raise
                message = f"{path} loads, but Keras cannot export it: {error}"
                raise ImportModelError(message) from error
            layers = tuple(type(layer).__name__ for layer in getattr(model, "layers", ()))
            yield _saved_model(Path(exported), path.name, PREDICT_SIGNATURE, layers)
        return
    folder = _folder_of(path)
    _require_harmless(folder, allow_code=allow_code)
    yield _saved_model(folder, path.name, signature, ())


def _folder_of(path: Path) -> Path:
    """Return the folder of the SavedModel: the path itself, or its only version."""
    if not path.exists():
        raise ImportModelError(f"{path}: no such file or folder")
    if path.is_file():
        if path.name == _SAVED_MODEL:
            return path.parent
        if path.suffix == ".tflite":
            raise ImportModelError(
                f"{path}: a contract cannot be added to a LiteRT file: import the .keras file or "
                "SavedModel that it was converted from. Without a contract, rockstar serve runs it "
                "from models/NAME/1/model.tflite, over /v1, /v2 and gRPC"
            )
        kind = _OTHERS.get(path.suffix)
        what = f"it is {kind}, which is not loaded here" if kind else "it is neither"
        raise ImportModelError(
            f"{path}: expected a .keras or .h5 file or a folder with a SavedModel; {what}. "
            "Save the model with model.save('model.keras') or tf.saved_model.save, or train one "
            "on your data: rockstar train --help"
        )
    if (path / _SAVED_MODEL).is_file():
        return path
    versions = [child for child in path.iterdir() if (child / _SAVED_MODEL).is_file()]
    if len(versions) == 1:
        return versions[0]
    names = ", ".join(sorted(child.name for child in versions))
    weights = [name for name in _WEIGHTS if (path / name).exists()]
    if weights:
        raise ImportModelError(
            f"{path} holds {weights[0]}, which are weights without a model. With transformers: "
            "TFAutoModel.from_pretrained(…).save_pretrained(FOLDER, saved_model=True), then import "
            "FOLDER/saved_model/1"
        )
    raise ImportModelError(
        f"{path}: expected a folder with {_SAVED_MODEL}, got "
        + (f"several ({names}): name one of them" if names else "none in it")
    )


def _keras_model(path: Path, *, allow_code: bool) -> Any:
    with tempfile.TemporaryDirectory(prefix="rockstar-import-") as folder:
        file = path
        if path.suffix != ".keras":
            file = _checked_h5(path, Path(folder), allow_code=allow_code)
        try:
            return keras.saving.load_model(file, compile=False, safe_mode=not allow_code)
        except Exception as error:  # whatever Keras raises of what the file holds
            reason = " ".join(str(error).split())
            if "lambda" in reason.lower() and "safe_mode" in reason:
                raise _has_code(path) from error
            raise ImportModelError(_why_not(path, reason)) from error


def _without_training(model: Any) -> Any:
    """Return a model without augmentation, which Keras exports as random as in training."""
    if not getattr(model, "inputs", None):  # a class of its author's own
        return model
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.Model(inputs, model(inputs, training=False))


def _why_not(path: Path, reason: str) -> str:
    """Explain an error of Keras, and what to do."""
    start = f"{path} cannot be loaded by Keras {keras.__version__}"
    again = (
        "load it where it was made and save it with model.export('FOLDER') (Keras 3) or "
        "tf.saved_model.save(model, 'FOLDER'), then import the folder"
    )
    # Keras surrounds the reason with the whole configuration of the model.
    reason = (
        reason.rpartition("Exception encountered: ")[2].partition("Full object config")[0].strip()
    )
    if (version := _saved_by(path)).startswith(("1.", "2.")):
        return f"{start}: Keras {version} wrote it; {again}"
    unknown = re.search(r"(?:Could not locate class|Unknown [a-z ]+:) '?([\w>]+)", reason)
    if unknown:
        what = f"{unknown[1]}, a layer or function of its author's own or of an older Keras"
        return f"{start}: it has {what}; {again}"
    if "not accessible as a zip" in reason or "File not found" in reason or "not a zip" in reason:
        return f"{start}: it is no .keras file, or a damaged one"
    return f"{start}: {reason[:400]}; if Keras 2 made it, {again}"


def _saved_by(path: Path) -> str:
    """Return the version of Keras that wrote a .keras file; empty if it does not say."""
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return ""


def _checked_h5(path: Path, folder: Path, *, allow_code: bool) -> Path:
    """Check that a file has a whole model without code, and return it.

    If its layers have obsolete arguments, return a copy without them in the folder.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError as error:
        raise ImportModelError(f"{path} is no HDF5 file, or a damaged one: {error}") from error
    if text is None:
        raise ImportModelError(
            f"{path} holds weights without a model: build the model, call "
            "model.load_weights(…), and save it with model.save('model.keras')"
        )
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ImportModelError(f"{path}: its model_config is not JSON: {error}") from error
    # A file may have any value there, a list, too.
    kinds = [each.get("class_name") for each in _objects(config)]
    if not allow_code and ("Lambda" in kinds or "__lambda__" in kinds):
        raise _has_code(path)
    if not _drop_obsolete(config):
        return path
    copy = Path(shutil.copy(path, folder / "model.h5"))
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return copy


def _drop_obsolete(config: Any) -> bool:
    """Remove obsolete arguments of layers from a configuration; return whether there were any."""
    found = False
    for layer in _objects(config):
        own = layer.get("config")
        if not isinstance(own, dict):
            continue
        for key, only in _OBSOLETE.get(str(layer.get("class_name")), {}).items():
            if key in own and only in (None, own[key]):
                del own[key]
                found = True
    return found


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in a JSON document."""
    if isinstance(document, dict):
        yield document
        document = [*document.values()]
    if isinstance(document, list):
        for each in document:
            yield from _objects(each)


def _has_code(path: Path) -> ImportModelError:
    return ImportModelError(
        f"{path} holds a Lambda layer, which is Python code that loading runs on this machine. If "
        "you trust whoever made the file, add --allow-code; else have it exported as a SavedModel"
    )


def _meta_graphs(folder: Path) -> list[Any]:
    path = folder / _SAVED_MODEL
    try:
        return list(SavedModel.FromString(path.read_bytes()).meta_graphs)
    except (OSError, DecodeError) as error:
        raise ImportModelError(f"{path} is damaged: {error}") from error


def _require_harmless(folder: Path, *, allow_code: bool) -> None:
    found: set[str] = set()
    for graph in _meta_graphs(folder):
        found |= {node.op for node in graph.graph_def.node}
        for function in graph.graph_def.library.function:
            found |= {node.op for node in function.node_def}
    if python := sorted(found & _PYTHON_OPERATIONS):
        raise ImportModelError(
            f"{folder} calls a Python function of the program that saved it ({', '.join(python)}): "
            "no server can run that; build the model of TensorFlow operations (not tf.py_function)"
        )
    if not allow_code and (files := sorted(found & _FILE_OPERATIONS)):
        raise ImportModelError(
            f"{folder} reads or writes files of the machine that runs it ({', '.join(files)}). If "
            "you trust whoever made it, add --allow-code"
        )


def _saved_model(folder: Path, name: str, signature: str | None, layers: tuple[str, ...]) -> Source:
    graphs = _meta_graphs(folder)
    # For serving; without this tag, the graph with the fewest tags.
    marked = [graph for graph in graphs if "serve" in graph.meta_info_def.tags]
    graph = min(marked or graphs, key=lambda graph: len(graph.meta_info_def.tags))
    tags = [*graph.meta_info_def.tags]
    try:
        with quiet_native_log():
            if {node.op for node in graph.graph_def.node} & _OLD_VARIABLES:
                return _frozen(folder, name, tags, _chosen(graph.signature_def, signature, name))
            loaded = tf.saved_model.load(str(folder), tags=tags)
    except ImportModelError:
        raise
    except Exception as error:  # TensorFlow raises ValueError, OpError, KeyError and more
        # TensorFlow raises these for missing and for truncated files.
        if isinstance(error, (FileNotFoundError, IndexError)):
            raise ImportModelError(
                f"{folder} lacks files, or they are cut off: copy the whole folder again, with "
                "variables/ and assets/"
            ) from error
        reason = " ".join(str(error).split())[:400]
        raise ImportModelError(f"{folder} cannot be loaded as a SavedModel: {reason}") from error
    function = loaded.signatures[_chosen(loaded.signatures, signature, name)]
    _, inputs = function.structured_input_signature
    outputs = dict(function.structured_outputs)
    return Source(name, (loaded,), function, dict(inputs), outputs, layers or _layers(graph))


def _layers(graph: Any) -> tuple[str, ...]:
    """Return the names of layers in a SavedModel of Keras, such as "rescaling", by its nodes."""
    nodes = (node.name for each in graph.graph_def.library.function for node in each.node_def)
    parts = {part for name in nodes for part in name.split("/")[:-1]}
    return tuple(sorted({re.sub(r"(_\d+)+$", "", part) for part in parts}))


def _frozen(folder: Path, name: str, tags: list[str], signature: str) -> Source:
    """Load a model of TensorFlow 1 with its variables replaced by constants.

    Variables of TensorFlow 1 in a loaded function are lost when it is saved again.
    """
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        loaded = tf.compat.v1.saved_model.load(session, tags, str(folder))
        definition = loaded.signature_def[signature]
        nodes = [info.name.partition(":")[0] for info in definition.outputs.values()]
        constants = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), nodes
        )
    v1 = tf.compat.v1
    whole = v1.wrap_function(lambda: v1.import_graph_def(constants, name=""), [])
    inputs, outputs = (
        {key: whole.graph.get_tensor_by_name(info.name) for key, info in infos.items()}
        for infos in (definition.inputs, definition.outputs)
    )
    pruned = whole.prune([*inputs.values()], [*outputs.values()])

    def call(**tensors: Any) -> dict[str, Any]:
        return dict(zip(outputs, pruned(*(tensors[key] for key in inputs)), strict=True))

    taken, answered = (
        {key: tf.TensorSpec(tensor.shape, tensor.dtype, name=key) for key, tensor in side.items()}
        for side in (inputs, outputs)
    )
    return Source(name, (), call, taken, answered)


def _chosen(found: Mapping[str, Any], wanted: str | None, name: str) -> str:
    signatures = [key for key in found if key != CONTRACT_SIGNATURE and not key.startswith("__")]
    known = ", ".join(sorted(signatures))
    if wanted is not None and wanted not in signatures:
        raise ImportModelError(f"{name} has no signature {wanted}; it has {known or 'none'}")
    if wanted is not None:
        return wanted
    if not signatures:
        raise ImportModelError(
            f"{name} has no signature, which would describe its inputs and outputs. Save it with "
            "one: tf.saved_model.save(model, 'FOLDER', signatures=tf.function(model, "
            "input_signature=[tf.TensorSpec([None, …], tf.float32)]))"
        )
    if PREDICT_SIGNATURE in signatures:
        return PREDICT_SIGNATURE
    if len(signatures) == 1:
        return signatures[0]
    raise ImportModelError(f"{name} has several signatures ({known}): name one with --signature")
