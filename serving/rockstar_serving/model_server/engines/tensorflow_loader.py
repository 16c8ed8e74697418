"""Loading a SavedModel into a session of TensorFlow, as TensorFlow Serving loads it.

Ops that TensorFlow Serving has built in and TensorFlow takes from other packages are registered by
importing those packages, only for models that have them. The list is SUPPORTED_TENSORFLOW_OPS in
TensorFlow Serving's `model_servers/BUILD`.
"""

import importlib
import importlib.util
import logging
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.options import EngineOptions

_VARIABLES = "variables/variables.index"


@dataclass(frozen=True)
class LoadedModel:
    """A SavedModel that was loaded.

    Attributes:
        graph: TensorFlow's.
        session: TensorFlow's, with variables and tables initialized.
        signatures: TensorFlow's SignatureDef messages, by name.
        graph_def: TensorFlow's GraphDef message.
    """

    graph: Any
    session: Any
    signatures: dict[str, Any]
    graph_def: Any


def load_saved_model(folder: Path, options: EngineOptions) -> LoadedModel:
    """Load a SavedModel: graph, variables, tables, assets and what initializes them.

    Packages with operations that TensorFlow Serving has built in are imported if the model needs
    them. Without `variables/` nothing is restored: many graphs have constants and tables only.

    Raises:
        LoadError: it cannot be loaded.
    """
    tf = _tensorflow()
    registered: set[str] = set()
    while True:
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph, config=_config(tf, options))
        try:
            with graph.as_default():
                loaded = _restore(tf, session, folder, options)
            python_op = next((n.op for n in loaded.graph_def.node if n.op in _PYTHON_OPS), None)
            if python_op is not None:
                # Begins as TensorFlow Serving's error.
                raise ValueError(
                    f"No OpKernel was registered to support Op '{python_op}': {_NO_PYTHON}"
                )
            signatures = dict(sorted(loaded.signature_def.items()))
            return LoadedModel(graph, session, signatures, loaded.graph_def)
        # It raises RuntimeError (tags), OSError, ValueError and errors of operations.
        except Exception as error:
            session.close()
            unregistered = _UNREGISTERED.search(str(error))
            op = unregistered[1] if unregistered else ""
            if not op or op in registered:
                raise LoadError(_reason(folder, error, options)) from error
        try:
            _register(op, tf.__version__)
        except ImportError as error:
            raise LoadError(_reason(folder, error, options)) from error
        registered.add(op)


def _restore(tf: Any, session: Any, folder: Path, options: EngineOptions) -> Any:
    """The MetaGraphDef that was loaded."""
    tags = sorted(options.saved_model_tags)
    if (folder / _VARIABLES).is_file():
        return tf.compat.v1.saved_model.load(session, tags, str(folder))
    with tempfile.TemporaryDirectory() as copy:
        _copy_without_variables(folder, Path(copy))
        try:
            loaded = tf.compat.v1.saved_model.load(session, tags, copy)
        except Exception as error:
            text = str(getattr(error, "message", error))
            raise RuntimeError(text.replace(copy, str(folder))) from error
    uninitialized = _uninitialized(tf, session)
    if uninitialized:
        raise ValueError(
            f"{_VARIABLES} is missing, and the graph needs the variables "
            f"{', '.join(uninitialized[:3])}{', …' if uninitialized[3:] else ''}: copy the whole "
            "export"
        )
    return loaded


def _copy_without_variables(folder: Path, copy: Path) -> None:
    """Write a SavedModel that restores no variables, with links to the assets of the first."""
    from google.protobuf import text_format
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    binary = folder / "saved_model.pb"
    if binary.is_file():
        model = SavedModel.FromString(binary.read_bytes())
    else:
        text = (folder / "saved_model.pbtxt").read_text("utf-8")
        model = text_format.Parse(text, SavedModel())
    for meta_graph in model.meta_graphs:
        meta_graph.ClearField("saver_def")
        # With these the loader would make a saver itself.
        for collection in ("variables", "saveable_objects"):
            meta_graph.collection_def.pop(collection, None)
    (copy / binary.name).write_bytes(model.SerializeToString())
    if (folder / "assets").is_dir():
        (copy / "assets").symlink_to((folder / "assets").absolute())


def _uninitialized(tf: Any, session: Any) -> list[str]:
    """Names of the variables without a value."""
    checks = {}
    for op in session.graph.get_operations():
        if op.type == "VarHandleOp":
            checks[op.name] = tf.raw_ops.VarIsInitializedOp(resource=op.outputs[0])
        elif op.type in ("Variable", "VariableV2"):
            checks[op.name] = tf.raw_ops.IsVariableInitialized(ref=op.outputs[0])
    return [name for name, initialized in session.run(checks).items() if not initialized]


def _tensorflow() -> Any:
    """TensorFlow, imported quietly; whoever sets TF_CPP_MIN_LOG_LEVEL sees as much as they ask for.

    Raises:
        LoadError: it cannot be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise LoadError(f"TensorFlow is installed, but cannot be imported: {error}") from error
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return tf


def _config(tf: Any, options: EngineOptions) -> Any:
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads,
        inter_op_parallelism_threads=options.inter_op_threads,
    )
    config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
    return config


def _reason(folder: Path, error: Exception, options: EngineOptions) -> str:
    text = str(getattr(error, "message", error)).strip()
    # TensorFlow names files as Python writes bytes.
    text = re.sub(r"\bb'([^']*)'", r"\1", text)
    if isinstance(error, RuntimeError) and "MetaGraphDef associated with tags" in text:
        tags = ",".join(sorted(options.saved_model_tags))
        return f"{folder} has no graph for --saved_model_tags={tags}: {text}"
    return f"{folder} cannot be loaded by TensorFlow: {text}"


# They call functions of the Python process that made the graph. TensorFlow Serving lacks them.
_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_NO_PYTHON = (
    "the model calls a Python function, which a SavedModel does not contain: export it with "
    "TensorFlow's own operations instead of tf.py_function, tf.numpy_function and tf.py_func"
)
_NO_FUNCTION = "Could not find callback with key="
_UNREGISTERED = re.compile(r"Op type not registered '([^']+)'")


@dataclass(frozen=True)
class _Package:
    """A package with operations for TensorFlow.

    Attributes:
        name: what pip calls it; its minor version is TensorFlow's.
        module: what Python imports.
        ops: a pattern for the names of its operations.
    """

    name: str
    module: str
    ops: re.Pattern[str]


_PACKAGES = (
    _Package(
        "tensorflow-text",
        "tensorflow_text",
        re.compile(
            r"TFText>.*|CaseFoldUTF8|ConstrainedSequence|FastBertNormalize|FindSourceOffsets"
            r"|MaxSpanningTree|NormalizeUTF8.*|PhraseTokenize|RegexSplitWithOffsets|RougeL"
            r"|SentenceFragments.*|Sentencepiece.*|TokenizerFromLogits|(Fast)?Wordpiece.*"
            r"|(SplitMerge|UnicodeScript|Whitespace)TokenizeWithOffsets.*"
        ),
    ),
    # Successor of TensorFlow Decision Forests' operations, which end with TensorFlow 2.19.
    _Package("ydf-tf", "ydf_tf", re.compile("SimpleML.*")),
)


def run_error(message: str) -> str:
    """The message of a failed run, without the Python traceback of a function that is missing."""
    return _NO_PYTHON if _NO_FUNCTION in message else message


def _register(op: str, tensorflow_version: str) -> None:
    """Import the package that has an operation.

    Raises:
        ImportError: it is not known, not installed or cannot be imported; says how to fix it.
    """
    package = next((each for each in _PACKAGES if each.ops.fullmatch(op)), None)
    if package is None:
        raise ImportError(
            f"the model needs the op {op}, which neither TensorFlow nor TensorFlow Serving has: "
            "export it without custom ops"
        )
    minor = ".".join(tensorflow_version.split(".")[:2])
    install = f"pip install '{package.name}=={minor}.*'"
    if importlib.util.find_spec(package.module) is None:
        raise ImportError(f"the model needs the op {op} from {package.name}: {install}")
    try:
        importlib.import_module(package.module)
    except Exception as error:  # ImportError, and NotFoundError where it is of another version
        raise ImportError(
            f"the model needs the op {op} from {package.name}, which is installed, but cannot be "
            f"imported ({error}): {install}"
        ) from error
