"""Signatures that take tf.Examples, and running them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.inference.predict import SignatureNotFoundError
from tfs_api.signature import DEFAULT_SIGNATURE, Signature, signature_def
from tfs_api.status import Code, StatusError

# What TensorFlow calls the input of signatures that take tf.Examples.
EXAMPLES_INPUT = "inputs"

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ExamplesQuery:
    """What a classify or regress request asks of a model.

    Attributes:
        examples: serialized tf.Examples.
        signature_name: "" for serving_default.
        deadline: until when somebody waits.
    """

    examples: Sequence[bytes]
    signature_name: str = ""
    deadline: Deadline = NO_DEADLINE


def find_signature(engine: Engine, name: str) -> tuple[str, Signature]:
    """A signature with its name; "" is serving_default.

    Raises:
        SignatureNotFoundError: INVALID_ARGUMENT, there is none.
    """
    name = name or DEFAULT_SIGNATURE
    signature = engine.signatures.get(name)
    if signature is None:
        raise SignatureNotFoundError(
            name, Code.INVALID_ARGUMENT, "No signature was found with the name: {}"
        )
    return name, signature


def check_method_name(signature: Signature, wanted: str, kind: str) -> None:
    """Pass a signature that was made for a method.

    Args:
        signature: of a model.
        wanted: name of the method.
        kind: "classification" or "regression", for the message.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if signature.method_name != wanted:
        raise _invalid(
            f"Expected {kind} signature method_name to be {wanted}. Was: {signature.method_name}"
        )


def check_one_input(signature: Signature) -> None:
    """Pass a signature with a single input.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")


def check_input_name(signature: Signature, kind: str) -> None:
    """Pass a signature that has EXAMPLES_INPUT.

    Args:
        signature: of a model.
        kind: "classification" or "regression", for the message.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if EXAMPLES_INPUT not in signature.inputs:
        raise _invalid(f"No {kind} inputs found in SignatureDef: {signature_text(signature)}")


def run_on_examples(
    engine: Engine,
    signature_name: str,
    examples: Sequence[bytes],
    fetches: Sequence[str],
    deadline: Deadline,
) -> Outputs:
    """Run a signature whose only input is EXAMPLES_INPUT.

    Raises:
        StatusError: INVALID_ARGUMENT, no example; or of the engine.
    """
    if not examples:
        raise _invalid("Input is empty.")
    strings = np.empty(len(examples), dtype=object)
    strings[:] = examples
    return engine.run(signature_name, {EXAMPLES_INPUT: strings}, fetches, deadline)


def signature_text(signature: Signature) -> str:
    """A signature as TensorFlow Serving's messages show it."""
    return text_format.MessageToString(signature_def(signature))


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
