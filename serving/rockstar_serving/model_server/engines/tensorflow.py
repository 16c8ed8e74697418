"""TensorFlow as an engine: any SavedModel, of TensorFlow 1 and 2.

A SavedModel is loaded into a session, as TensorFlow Serving does. Ops that are built into
TensorFlow Serving but that TensorFlow takes from other packages are registered by importing those
packages, only for models that need them. The list is SUPPORTED_TENSORFLOW_OPS in TensorFlow
Serving's `model_servers/BUILD`.
"""

import importlib
import importlib.util
import logging
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import (
    Arrays,
    LoadError,
    Outputs,
    Runtime,
    as_array,
)
from rockstar_serving.model_server.options import EngineOptions
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.signature import Signature, TensorSpec, dtype_name, shape_text, signature_of
from tfs_api.status import Code, StatusError, invalid

_VARIABLES = "variables/variables.index"
# The session never frees what it prepares for a set of fetches, and callers choose the set.
_FETCH_SETS = 16
# They call functions of the Python process that made the graph. TensorFlow Serving lacks them.
_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_NO_PYTHON = (
    "the model calls a Python function, which a SavedModel does not contain: export it with "
    "TensorFlow's own operations instead of tf.py_function, tf.numpy_function and tf.py_func"
)
_NO_FUNCTION = "Could not find callback with key="
_UNREGISTERED = re.compile(r"Op type not registered '([^']+)'")
# Packages with operations: name for pip (the minor version is TensorFlow's), and which operations.
_PACKAGES = {
    "tensorflow-text": (
        r"TFText>.*|CaseFoldUTF8|ConstrainedSequence|FastBertNormalize|FindSourceOffsets"
        r"|MaxSpanningTree|NormalizeUTF8.*|PhraseTokenize|RegexSplitWithOffsets|RougeL"
        r"|SentenceFragments.*|Sentencepiece.*|TokenizerFromLogits|(Fast)?Wordpiece.*"
        r"|(SplitMerge|UnicodeScript|Whitespace)TokenizeWithOffsets.*"
    ),
    # Successor of TensorFlow Decision Forests' operations, which end with TensorFlow 2.19.
    "ydf-tf": "SimpleML.*",
}


class TensorFlowEngine:
    """One version in TensorFlow."""

    name = "TensorFlow"

    def __init__(self, version_folder: Path, options: EngineOptions | None = None) -> None:
        """Load the SavedModel of a version folder; raises LoadError."""
        self._session, loaded = load_saved_model(version_folder, options or EngineOptions())
        definitions = {
            name: SignatureDef.FromString(definition.SerializeToString())
            for name, definition in sorted(loaded.signature_def.items())
        }
        convolving = _convolving(loaded.graph_def, definitions)
        self._calls = {
            name: _Call(self._session.graph, name, signature_of(each), name in convolving)
            for name, each in definitions.items()
        }
        self.signatures: Mapping[str, Signature] = {
            name: call.signature for name, call in self._calls.items()
        }

    def run(
        self, signature: str, feeds: Arrays, fetches: list[str], deadline: Deadline = NO_DEADLINE
    ) -> Outputs:
        """Run the part of the graph that the fetches need; see Engine.

        Session.run does the same as the native function, but takes 0.2 ms more.
        """
        from tensorflow.core.protobuf.config_pb2 import RunOptions
        from tensorflow.errors import OpError
        from tensorflow.python.client import pywrap_tf_session as native

        deadline.check()
        call = self._calls[signature]
        call.check(feeds, fetches)
        wanted = call.fetched(frozenset(fetches))
        # Always in this order: TensorFlow prepares each order separately.
        fed = {tensor: feeds[name] for name, tensor in call.inputs.items() if name in feeds}
        buffer = None
        if (seconds := deadline.remaining()) is not None:
            # 0 would be no limit.
            limit = RunOptions(timeout_in_ms=max(1, math.ceil(seconds * 1000)))
            buffer = native.TF_NewBufferFromString(limit.SerializeToString())
        session = self._session._session  # noqa: SLF001 - see above: no public way is as fast
        try:
            values = native.TF_SessionRun_wrapper(
                session, buffer, fed, [call.outputs[name] for name in wanted], [], None
            )
        except OpError as error:
            # TensorFlow adds a Python traceback if a function is missing.
            message = _NO_PYTHON if _NO_FUNCTION in error.message else error.message
            raise StatusError(Code(error.error_code), message) from error
        except UnicodeDecodeError as error:
            # A message that quotes bytes of the request, such as those that are no tf.Example.
            message = error.object.decode("utf-8", "backslashreplace")
            raise invalid(message) from error
        finally:
            if buffer is not None:
                native.TF_DeleteBuffer(buffer)
        outputs = dict(zip(wanted, values, strict=True))
        return {name: as_array(outputs[name]) for name in fetches}

    def close(self) -> None:
        """Free the graph, its variables and its tables."""
        self._session.close()
        self._session = None
        self._calls = {}


class _Call:
    """A signature with the tensors of the graph as the session takes them, by input and output."""

    def __init__(self, graph: Any, name: str, signature: Signature, convolves: bool) -> None:
        self._name, self.signature, self._convolves = name, signature, convolves
        # Names of tensors that the graph lacks, by input and output. As in TensorFlow Serving, only
        # requests that need them fail.
        self._absent: dict[str, str] = {}
        self.inputs = self._find_tensors(graph, signature.inputs)
        self.outputs = self._find_tensors(graph, signature.outputs)
        self._known: set[frozenset[str]] = set()

    def fetched(self, wanted: frozenset[str]) -> list[str]:
        """The outputs to compute, in a fixed order: those wanted, or all if the sets vary much."""
        if wanted not in self._known:
            if len(self._known) >= _FETCH_SETS:
                return list(self.outputs)
            self._known.add(wanted)
        return [name for name in self.outputs if name in wanted]

    def check(self, feeds: Arrays, fetches: Sequence[str]) -> None:
        """Reject (INVALID_ARGUMENT) tensors that no message holds, and feeds that end the process.

        TensorFlow's convolutions on oneDNN do so if the input has fewer than four dimensions
        (tensorflow/tensorflow#111453).
        """
        unusable = [name for name in feeds if name not in self.inputs]
        unusable += [name for name in fetches if name not in self.outputs]
        if unusable and (tensor := self._absent.get(unusable[0])) is not None:
            raise invalid(
                f"Tensor {tensor}, specified in either feed_devices or fetch_devices was not found "
                f'in the Graph: {unusable[0]} of the signature "{self._name}"'
            )
        if unusable:
            raise invalid(
                f'{unusable[0]} of the signature "{self._name}" is a sparse or ragged tensor, '
                "which no message holds: export a signature whose tensors are dense"
            )
        if not fetches:
            raise invalid(f'the signature "{self._name}" has no output that a message holds')
        for name, feed in feeds.items() if self._convolves else ():
            spec = self.signature.inputs[name]
            if spec.shape is not None and feed.ndim < len(spec.shape):
                raise invalid(
                    f"input {name!r}: expected {spec}, got {dtype_name(feed.dtype)} of shape "
                    f"{shape_text(feed.shape)}: a convolution takes no fewer dimensions"
                )

    def _find_tensors(self, graph: Any, specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
        """The tensors as the session takes them, without those that the graph lacks."""
        found = {}
        for name, spec in specs.items():
            if not spec.tensor:
                continue  # sparse or ragged
            # "x" is the first output of the operation x, as in the session of TensorFlow Serving.
            tensor = spec.tensor if ":" in spec.tensor else f"{spec.tensor}:0"
            try:
                # The native session takes tensors in this form, which has no public name.
                found[name] = graph.get_tensor_by_name(tensor)._as_tf_output()  # noqa: SLF001
            except (KeyError, ValueError):
                self._absent[name] = tensor
        return found


def _convolving(graph: Any, signatures: Mapping[str, SignatureDef]) -> set[str]:
    """The signatures whose outputs need a convolution, in the graph or in functions it calls."""
    functions: set[str] = set()

    def convolves(node: Any) -> bool:
        if "Conv" in node.op:
            return True
        calls = [call for attr in node.attr.values() for call in (attr.func, *attr.list.func)]
        return any(call.name in functions for call in calls if call.name)

    bodies = {each.signature.name: each.node_def for each in graph.library.function}
    while found := {n for n, nodes in bodies.items() if any(map(convolves, nodes))} - functions:
        functions |= found
    nodes = {node.name: node for node in graph.node}
    if not functions and not any(map(convolves, graph.node)):
        return set()

    def needs_one(signature: SignatureDef) -> bool:
        waiting, seen = [info.name for info in signature.outputs.values()], set()
        while waiting:
            name = waiting.pop().lstrip("^").partition(":")[0]
            if name in nodes and name not in seen:
                seen.add(name)
                if convolves(nodes[name]):
                    return True
                waiting += nodes[name].input
        return False

    return {name for name, each in signatures.items() if needs_one(each)}


def load_saved_model(folder: Path, options: EngineOptions) -> tuple[Any, Any]:
    """Load a SavedModel: graph, variables, tables, assets and what initializes them.

    Without `variables/` nothing is restored: many graphs have constants and tables only. Returns
    TensorFlow's session and the MetaGraphDef message; raises LoadError.
    """
    # A TF_CPP_MIN_LOG_LEVEL that the user sets stays.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise LoadError(f"TensorFlow is installed, but cannot be imported: {error}") from error
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads,
        inter_op_parallelism_threads=options.inter_op_threads,
    )
    config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
    registered: set[str] = set()
    while True:
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                loaded = _restore(tf, session, folder, options)
            python_op = next((n.op for n in loaded.graph_def.node if n.op in _PYTHON_OPS), None)
            if python_op is not None:
                # Begins as TensorFlow Serving's error.
                raise ValueError(
                    f"No OpKernel was registered to support Op '{python_op}': {_NO_PYTHON}"
                )
            return session, loaded
        # TensorFlow raises RuntimeError (tags), OSError, ValueError and errors of operations.
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
    """Load a SavedModel into a session; returns its MetaGraphDef."""
    tags = sorted(options.saved_model_tags)
    if (folder / _VARIABLES).is_file():
        return tf.compat.v1.saved_model.load(session, tags, str(folder))
    with tempfile.TemporaryDirectory() as copy:
        _copy_without_variables(folder, Path(copy))
        try:
            loaded = tf.compat.v1.saved_model.load(session, tags, copy)
        except Exception as error:  # of any kind: only the path in its message changes
            text = str(getattr(error, "message", error))
            raise RuntimeError(text.replace(copy, str(folder))) from error
    checks = {}
    for op in session.graph.get_operations():
        if op.type == "VarHandleOp":
            checks[op.name] = tf.raw_ops.VarIsInitializedOp(resource=op.outputs[0])
        elif op.type in ("Variable", "VariableV2"):
            checks[op.name] = tf.raw_ops.IsVariableInitialized(ref=op.outputs[0])
    missing = [name for name, initialized in session.run(checks).items() if not initialized]
    if missing:
        raise ValueError(
            f"{_VARIABLES} is missing, and the graph needs the variables "
            f"{', '.join(missing[:3])}{', …' if missing[3:] else ''}: copy the whole export"
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


def _reason(folder: Path, error: Exception, options: EngineOptions) -> str:
    text = str(getattr(error, "message", error)).strip()
    # TensorFlow names files as Python writes bytes.
    text = re.sub(r"\bb'([^']*)'", r"\1", text)
    if isinstance(error, RuntimeError) and "MetaGraphDef associated with tags" in text:
        tags = ",".join(sorted(options.saved_model_tags))
        return f"{folder} has no graph for --saved_model_tags={tags}: {text}"
    return f"{folder} cannot be loaded by TensorFlow: {text}"


def _register(op: str, tensorflow_version: str) -> None:
    """Import the package that has an operation; ImportError says how to fix it."""
    package = next((name for name, ops in _PACKAGES.items() if re.fullmatch(ops, op)), None)
    if package is None:
        raise ImportError(
            f"the model needs the op {op}, which neither TensorFlow nor TensorFlow Serving has: "
            "export it without custom ops"
        )
    module, minor = package.replace("-", "_"), ".".join(tensorflow_version.split(".")[:2])
    needs = f"the model needs the op {op} from {package}"
    install = f"pip install '{package}=={minor}.*'"
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"{needs}: {install}")
    try:
        importlib.import_module(module)
    except Exception as error:  # ImportError; or NotFoundError if it is for another version
        raise ImportError(
            f"{needs}, which is installed, but cannot be imported ({error}): {install}"
        ) from error


RUNTIME = Runtime(
    name=TensorFlowEngine.name,
    package="tensorflow",
    install="pip install 'rockstartf[train]'",
    files=("saved_model.pb", "saved_model.pbtxt"),
    reads=("saved_model.", "fingerprint.pb", "variables/", "assets/"),
    export="export it with tf.saved_model.save",
    rank=lambda _: 10,
    load=lambda folder, options, _: TensorFlowEngine(folder, options),
)
