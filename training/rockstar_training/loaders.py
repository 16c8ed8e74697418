"""Loads the files of an export, to inspect and run them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from rockstar_training.evaluation import Answer
from rockstar_training.signatures import Signatures, TensorInfo
from rockstar_training.tensorflow_setup import SavedModel, tf

# Of what runs when a SavedModel is loaded; no signature that anyone calls.
_INTERNAL = "__saved_model_"

# Signature and its one input to its outputs.
Run = Callable[[str, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def open_saved_model(folder: Path) -> tuple[Signatures, Run]:
    """What a SavedModel promises, and a function that runs it.

    It is loaded as TensorFlow Serving loads it, into a session: tf.saved_model.load also finds
    variables that a session does not restore.

    Raises:
        OSError, ValueError, RuntimeError: it cannot be loaded.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
    definitions = {n: d for n, d in loaded.signature_def.items() if not n.startswith(_INTERNAL)}

    def infos(tensors: Any) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(
                tf.as_dtype(info.dtype).name, tuple(dim.size for dim in info.tensor_shape.dim)
            )
            for name, info in tensors.items()
        }

    def run(signature: str, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        definition = definitions[signature]
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: info.name for name, info in definition.outputs.items()}
        outputs: dict[str, NDArray[Any]] = session.run(fetches, feeds)
        return outputs

    signatures = {name: (infos(d.inputs), infos(d.outputs)) for name, d in definitions.items()}
    return signatures, run


def open_litert(content: bytes) -> tuple[Signatures, Run]:
    """What a LiteRT file promises, and a function that runs it.

    Raises:
        ValueError, RuntimeError: it cannot be loaded.
    """
    interpreter = Interpreter(model_content=content, num_threads=1)
    names = interpreter.get_signature_list()
    runners = {name: interpreter.get_signature_runner(name) for name in names}

    def infos(details: dict[str, dict[str, Any]]) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(_dtype(detail), tuple(int(d) for d in detail["shape_signature"]))
            for name, detail in details.items()
        }

    signatures = {
        name: (infos(runner.get_input_details()), infos(runner.get_output_details()))
        for name, runner in runners.items()
    }
    return signatures, lambda signature, inputs: runners[signature](**inputs)


class Edge(NamedTuple):
    """The main graph of a LiteRT file: its inputs, its outputs, and what it answers."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    answer: Answer


def open_edge(content: bytes) -> Edge:
    """A LiteRT file as an interpreter finds it that knows nothing of signatures and resizing.

    Its answer runs it once for each example.

    Raises:
        ValueError, RuntimeError: it cannot be loaded.
    """
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = []
        for example in batch:
            interpreter.set_tensor(inputs[0]["index"], example[np.newaxis])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(outputs[0]["index"]))
        return np.concatenate(answers)

    return Edge(_infos(inputs), _infos(outputs), answer)


def _infos(details: list[dict[str, Any]]) -> list[TensorInfo]:
    return [TensorInfo(_dtype(each), tuple(map(int, each["shape_signature"]))) for each in details]


def saved_methods(folder: Path) -> dict[str, str]:
    """The method that each signature of a SavedModel names for TensorFlow Serving.

    Raises:
        OSError: the file cannot be read.
        google.protobuf.message.DecodeError: it is damaged.
    """
    saved = SavedModel()
    saved.ParseFromString((folder / tf.saved_model.SAVED_MODEL_FILENAME_PB).read_bytes())
    (graph,) = saved.meta_graphs
    return {
        name: signature.method_name
        for name, signature in graph.signature_def.items()
        if not name.startswith(_INTERNAL)
    }


def _dtype(detail: dict[str, Any]) -> str:
    # Strings are bytes to NumPy.
    name = np.dtype(detail["dtype"]).name
    return "string" if name.startswith("bytes") else name
