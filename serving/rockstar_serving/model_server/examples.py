"""Classify, Regress and MultiInference: run signatures on tf.Examples.

The checks and their messages are those of TensorFlow Serving (`classifier.cc`, `regressor.cc`,
`multi_inference.cc`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Arrays, Engine, SignatureNotFoundError
from tfs_api.messages.inference_pb2 import (
    ClassificationRequest,
    InferenceTask,
    Input,
    MultiInferenceRequest,
    RegressionRequest,
)
from tfs_api.signature import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD,
    Signature,
    signature_def,
)
from tfs_api.status import Code, StatusError, invalid
from tfs_api.tensors import wire_type

# TensorFlow's names of the input and outputs of signatures that take tf.Examples.
EXAMPLES_INPUT = "inputs"
CLASSES, SCORES = "classes", "scores"
OUTPUTS = "outputs"


@dataclass(frozen=True)
class ExamplesQuery:
    """A classify or regress request: serialized tf.Examples, and "" for serving_default."""

    examples: Sequence[bytes]
    signature_name: str = ""
    deadline: Deadline = NO_DEADLINE


@dataclass(frozen=True)
class MultiInferenceQuery:
    """A request to run several signatures (at least one) on the same serialized tf.Examples.

    Each task has CLASSIFY_METHOD or REGRESS_METHOD, and all have the same model.
    """

    tasks: Sequence[InferenceTask]
    examples: Sequence[bytes]
    deadline: Deadline = NO_DEADLINE


@dataclass(frozen=True)
class Classification:
    """The result of classifying n examples into k classes with a signature.

    Attributes:
        labels: n lists of k; empty strings if the signature returns only scores. Bytes that are not
            UTF-8 are decoded with Python's "surrogateescape".
        scores: float32 [n, k]; zeros if the signature returns only labels.
    """

    labels: list[list[str]]
    scores: NDArray[np.float32]
    signature_name: str


@dataclass(frozen=True)
class Regression:
    """The result of regression on n examples: float32 [n], and the signature that ran."""

    values: NDArray[np.float32]
    signature_name: str


Result = Classification | Regression


def examples_query(
    request: ClassificationRequest | RegressionRequest, deadline: Deadline = NO_DEADLINE
) -> ExamplesQuery:
    """Make a query from a classify or regress message."""
    return ExamplesQuery(examples_of(request.input), request.model_spec.signature_name, deadline)


def multi_inference_query(
    request: MultiInferenceRequest, deadline: Deadline = NO_DEADLINE
) -> MultiInferenceQuery:
    """Make a query from a MultiInference message."""
    return MultiInferenceQuery(request.tasks, examples_of(request.input), deadline)


def examples_of(message: Input) -> list[bytes]:
    """Return the serialized tf.Examples of a request, each with the features of its context.

    Like TensorFlow Serving, it concatenates the messages: a feature of the example then overrides
    the context's.
    """
    if message.WhichOneof("kind") == "example_list_with_context":
        listed = message.example_list_with_context
        return [listed.context + example for example in listed.examples]
    return list(message.example_list.examples)


def classify(engine: Engine, query: ExamplesQuery, *, check_method: bool = False) -> Classification:
    """Classify tf.Examples with a loaded version; check_method: only by a classify signature.

    Raises:
        StatusError: INVALID_ARGUMENT (no such signature, one that is no classifier, no example, or
            outputs of unexpected shapes or dtypes), or any error of the engine.
    """
    return _classification(*_run_query(engine, query, CLASSIFY_METHOD, check_method=check_method))


def regress(engine: Engine, query: ExamplesQuery, *, check_method: bool = False) -> Regression:
    """Compute a number for each tf.Example with a loaded version; errors as in classify()."""
    return _regression(*_run_query(engine, query, REGRESS_METHOD, check_method=check_method))


def multi_inference(
    engine: Engine, query: MultiInferenceQuery, *, check_method: bool = False
) -> list[Result]:
    """Run each task with a loaded version, after checking all of them.

    TensorFlow Serving runs the tasks as one graph. An engine runs one signature at a time, so they
    run one after the other here, with the same results.

    Raises:
        StatusError: INVALID_ARGUMENT (tasks that cannot be combined, or as in classify()),
            UNIMPLEMENTED (another method), or any error of the engine.
    """
    fetches: dict[str, list[str]] = {}
    for task in query.tasks:
        spec = task.model_spec
        if not spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if spec.name != query.tasks[0].model_spec.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = spec.signature_name or DEFAULT_SIGNATURE
        if name in fetches:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        signature = engine.signatures.get(name)
        if signature is None:
            message = "Requested signature not found in model graph: {}"
            raise SignatureNotFoundError(name, Code.INVALID_ARGUMENT, message)
        if task.method_name not in (CLASSIFY_METHOD, REGRESS_METHOD):
            message = f"Unsupported signature method_name: {task.method_name}"
            raise StatusError(Code.UNIMPLEMENTED, message)
        fetches[name] = _fetches(signature, task.method_name, check_method=check_method)
    results: list[Result] = []
    for task, (name, names) in zip(query.tasks, fetches.items(), strict=True):
        make = _classification if task.method_name == CLASSIFY_METHOD else _regression
        results.append(make(*_run(engine, name, query, names)))
    return results


def _run_query(
    engine: Engine, query: ExamplesQuery, method: str, *, check_method: bool
) -> tuple[str, Arrays, int]:
    name = query.signature_name or DEFAULT_SIGNATURE
    signature = engine.signatures.get(name)
    if signature is None:
        message = "No signature was found with the name: {}"
        raise SignatureNotFoundError(name, Code.INVALID_ARGUMENT, message)
    fetches = _fetches(signature, method, check_method=check_method)
    return _run(engine, name, query, fetches)


def _run(
    engine: Engine, name: str, query: ExamplesQuery | MultiInferenceQuery, fetches: list[str]
) -> tuple[str, Arrays, int]:
    if not query.examples:
        raise invalid("Input is empty.")
    strings = np.empty(len(query.examples), dtype=object)
    strings[:] = query.examples
    outputs = engine.run(name, {EXAMPLES_INPUT: strings}, fetches, query.deadline)
    return name, outputs, len(strings)


def _fetches(signature: Signature, method: str, *, check_method: bool) -> list[str]:
    """Check that a signature suits a method; returns the names of the outputs to fetch."""
    classifies = method == CLASSIFY_METHOD
    kind = "classification" if classifies else "regression"
    if check_method and signature.method_name != method:
        raise invalid(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if classifies and len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not classifies and len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    text = text_format.MessageToString
    if EXAMPLES_INPUT not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {text(signature_def(signature))}")
    names = (CLASSES, SCORES) if classifies else (OUTPUTS,)
    fetches = [name for name in names if name in signature.outputs]
    if fetches:
        return fetches
    if classifies:
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {text(signature_def(signature))}'
        )
    raise invalid(f"No regression outputs found in SignatureDef: {text(signature_def(signature))}")


def _classification(signature_name: str, outputs: Arrays, examples: int) -> Classification:
    for name, array in outputs.items():
        dtype = np.dtype(object if name == CLASSES else np.float32)
        if array.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}"
            )
        if array.dtype != dtype:
            wanted, got = wire_type(dtype).name, wire_type(array.dtype).name
            raise invalid(f"Expected {name} Tensor of {wanted}. Got: {got}")
        if len(array) != examples:
            raise invalid(f"Expected {name} output batch size of {examples}. Got: {len(array)}")
    if CLASSES not in outputs:
        scores = outputs[SCORES]
        return Classification([[""] * scores.shape[1]] * examples, scores, signature_name)
    labels = outputs[CLASSES]
    scores = outputs.get(SCORES, np.zeros(labels.shape, np.float32))
    if labels.shape[1] != scores.shape[1]:
        raise invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    texts = [[label.decode("utf-8", "surrogateescape") for label in row] for row in labels.tolist()]
    return Classification(texts, scores, signature_name)


def _regression(signature_name: str, outputs: Arrays, examples: int) -> Regression:
    array = outputs[OUTPUTS]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if len(array) != examples:
        raise invalid(
            f"Input batch size did not match output batch size: {examples} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {wire_type(array.dtype).name}")
    return Regression(array.reshape(-1), signature_name)


def _shape(array: NDArray[Any]) -> str:
    return f"[{','.join(map(str, array.shape))}]"
