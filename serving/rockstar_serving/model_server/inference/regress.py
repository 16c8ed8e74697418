"""Regress: of each tf.Example a number."""

from dataclasses import dataclass

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
from tfs_api.signature import REGRESS_METHOD, Signature
from tfs_api.status import Code, StatusError
from tfs_api.tensors import wire_type

OUTPUTS = "outputs"

KIND = "regression"


@dataclass(frozen=True)
class Regression:
    """What a regressor says of n examples.

    Attributes:
        values: float32 [n].
        signature_name: what gave them.
    """

    values: NDArray[np.float32]
    signature_name: str


def regress(engine: Engine, query: ExamplesQuery, *, check_method: bool = False) -> Regression:
    """Make a number of each tf.Example with a loaded version.

    Args:
        engine: of the version.
        query: the examples.
        check_method: whether only signatures of the regress method will do.

    Raises:
        StatusError: INVALID_ARGUMENT (no such signature, one that is not for this, no example, or
            an output that is no number for each), or of the engine.
    """
    name, signature = find_signature(engine, query.signature_name)
    fetches = regression_fetches(signature, check_method=check_method)
    outputs = run_on_examples(engine, name, query.examples, fetches, query.deadline)
    return regression(name, outputs, len(query.examples))


def regression_fetches(signature: Signature, *, check_method: bool) -> list[str]:
    """The output of a signature that makes a regression.

    Raises:
        StatusError: INVALID_ARGUMENT, the signature is not for that.
    """
    if check_method:
        check_method_name(signature, REGRESS_METHOD, KIND)
    check_one_input(signature)
    if len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    check_input_name(signature, KIND)
    if OUTPUTS not in signature.outputs:
        raise _invalid(f"No {KIND} outputs found in SignatureDef: {signature_text(signature)}")
    return [OUTPUTS]


def regression(signature_name: str, outputs: Outputs, examples: int) -> Regression:
    """What the output of a signature says of so many examples.

    Raises:
        StatusError: INVALID_ARGUMENT, it has another shape or dtype than it must.
    """
    array = outputs[OUTPUTS]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise _invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"[{','.join(map(str, array.shape))}]"
        )
    if len(array) != examples:
        raise _invalid(
            f"Input batch size did not match output batch size: {examples} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {wire_type(array.dtype).name}")
    return Regression(array.reshape(-1), signature_name)


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
