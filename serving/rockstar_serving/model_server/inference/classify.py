"""Classify: of each tf.Example a score for each class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.inference.examples import (
    ExamplesQuery,
    Outputs,
    check_input_name,
    check_method_name,
    check_one_input,
    find_signature,
    run_on_examples,
    signature_text,
)
from tfs_api.signature import CLASSIFY_METHOD, Signature
from tfs_api.status import Code, StatusError
from tfs_api.tensors import wire_type

CLASSES = "classes"
SCORES = "scores"

KIND = "classification"
_DTYPES = {CLASSES: np.dtype(object), SCORES: np.dtype(np.float32)}


@dataclass(frozen=True)
class Classification:
    """What a classifier says of n examples and k classes.

    Attributes:
        labels: n lists of k; empty texts where the signature gives scores only. Bytes that are no
            UTF-8 are in there as Python's "surrogateescape" has them.
        scores: float32 [n, k]; zeros where the signature gives labels only.
        signature_name: what gave them.
    """

    labels: list[list[str]]
    scores: NDArray[np.float32]
    signature_name: str


def classify(engine: Engine, query: ExamplesQuery, *, check_method: bool = False) -> Classification:
    """Classify tf.Examples with a loaded version.

    Args:
        engine: of the version.
        query: what to classify.
        check_method: whether only signatures of the classify method will do.

    Raises:
        StatusError: INVALID_ARGUMENT (no such signature, one that is not for this, no example, or
            outputs that are no classification), or of the engine.
    """
    name, signature = find_signature(engine, query.signature_name)
    fetches = classification_fetches(signature, check_method=check_method)
    outputs = run_on_examples(engine, name, query.examples, fetches, query.deadline)
    return classification(name, outputs, len(query.examples))


def classification_fetches(signature: Signature, *, check_method: bool) -> list[str]:
    """The outputs of a signature that make a classification.

    Raises:
        StatusError: INVALID_ARGUMENT, the signature is not for that.
    """
    if check_method:
        check_method_name(signature, CLASSIFY_METHOD, KIND)
    check_one_input(signature)
    if len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    check_input_name(signature, KIND)
    fetches = [name for name in (CLASSES, SCORES) if name in signature.outputs]
    if not fetches:
        raise _invalid(
            f"Expected {KIND} signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {signature_text(signature)}'
        )
    return fetches


def classification(signature_name: str, outputs: Outputs, examples: int) -> Classification:
    """What the outputs of a signature say of so many examples.

    Raises:
        StatusError: INVALID_ARGUMENT, they have other shapes or dtypes than they must.
    """
    for name, array in outputs.items():
        _check(name, array, examples)
    if CLASSES not in outputs:
        scores = outputs[SCORES]
        return Classification([[""] * scores.shape[1]] * examples, scores, signature_name)
    labels = outputs[CLASSES]
    scores = outputs.get(SCORES, np.zeros(labels.shape, np.float32))
    if labels.shape[1] != scores.shape[1]:
        raise _invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    texts = [[label.decode("utf-8", "surrogateescape") for label in row] for row in labels.tolist()]
    return Classification(texts, scores, signature_name)


def _check(name: str, array: NDArray[Any], examples: int) -> None:
    if array.ndim != 2:
        raise _invalid(
            "Expected Tensor shape: [batch_size num_classes] but got "
            f"[{','.join(map(str, array.shape))}]"
        )
    if array.dtype != _DTYPES[name]:
        wanted, got = wire_type(_DTYPES[name]).name, wire_type(array.dtype).name
        raise _invalid(f"Expected {name} Tensor of {wanted}. Got: {got}")
    if len(array) != examples:
        raise _invalid(f"Expected {name} output batch size of {examples}. Got: {len(array)}")


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
