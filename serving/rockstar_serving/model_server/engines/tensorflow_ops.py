"""Operations that TensorFlow Serving has built in and TensorFlow takes from other packages.

The list is SUPPORTED_TENSORFLOW_OPS in TensorFlow Serving's `model_servers/BUILD`. Importing such a
package registers its operations; that is done only for models that have them.
"""

import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import Any

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


def unregistered_op(error: Exception) -> str | None:
    """The operation without which TensorFlow cannot load a model, if that is what is wrong."""
    found = _UNREGISTERED.search(str(error))
    return found[1] if found else None


def python_op(graph_def: Any) -> str | None:
    """An operation of a graph, not of its functions, that calls Python, if there is one."""
    return next((node.op for node in graph_def.node if node.op in _PYTHON_OPS), None)


def without_python(op: str) -> str:
    """The error of a model with such an operation, which begins as TensorFlow Serving's."""
    return f"No OpKernel was registered to support Op '{op}': {_NO_PYTHON}"


def run_error(message: str) -> str:
    """The message of a failed run, without the Python traceback of a function that is missing."""
    return _NO_PYTHON if _NO_FUNCTION in message else message


def register(op: str, tensorflow_version: str) -> None:
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
