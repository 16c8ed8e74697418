"""The signatures of an export: what each takes, answers and is called by.

    signature        input                          output                          in
    serving_default  image float32 [n, *shape]      probabilities float32 [n, k]    both files
    contract         query int32 [n]                contract string [n]             both files
    classify         inputs string [n], tf.Example  classes string [n, k],          SavedModel
                                                    scores float32 [n, k]
    regress          inputs string [n], tf.Example  outputs float32 [n, 1]          SavedModel

A model has `classify` or `regress`, as its task is. Their tf.Examples have one feature, named as
the input of `serving_default`: a float list, the same tensor flattened row by row. It is the tensor
and not an image file because preprocessing is the caller's, by the contract, and must not exist
twice. LiteRT cannot parse a tf.Example, so its file has only the first two. Over REST:

    POST /v1/models/cnn:classify  {"examples": [{"image": [0.0, 0.5, …]}]}

with a decimal point in every number: TensorFlow Serving takes others for integers and refuses them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rockstar_contract.contract import (
    CONTRACT_INPUT,
    CONTRACT_OUTPUT,
    CONTRACT_SIGNATURE,
    PREDICT_SIGNATURE,
    Contract,
)
from rockstar_training.tensorflow_setup import Tensor, tf, write_fingerprint

CLASSIFY_SIGNATURE = "classify"
REGRESS_SIGNATURE = "regress"
EXAMPLES_INPUT: str = tf.saved_model.CLASSIFY_INPUTS
CLASSES: str = tf.saved_model.CLASSIFY_OUTPUT_CLASSES
SCORES: str = tf.saved_model.CLASSIFY_OUTPUT_SCORES
REGRESS_OUTPUT: str = tf.saved_model.REGRESS_OUTPUTS
LITERT_SIGNATURES = (PREDICT_SIGNATURE, CONTRACT_SIGNATURE)

# float32 [n, *shape of one example] to float32 [n, classes], or [n, 1] for regression.
Predict = Callable[[Tensor], Tensor]


class TensorInfo(NamedTuple):
    """What a signature says of a tensor; -1 is the batch, of any size."""

    dtype: str
    shape: tuple[int, ...]


# Signature to its inputs and outputs, each by name.
Signatures = dict[str, tuple[dict[str, TensorInfo], dict[str, TensorInfo]]]


def example_signature(contract: Contract) -> str:
    """The signature that takes tf.Examples: classify or regress."""
    return {"classification": CLASSIFY_SIGNATURE, "regression": REGRESS_SIGNATURE}[contract.task]


def methods(contract: Contract) -> dict[str, str]:
    """The method that TensorFlow Serving finds in each signature of the SavedModel."""
    of_examples = {
        CLASSIFY_SIGNATURE: tf.saved_model.CLASSIFY_METHOD_NAME,
        REGRESS_SIGNATURE: tf.saved_model.REGRESS_METHOD_NAME,
    }
    name = example_signature(contract)
    predict = dict.fromkeys(LITERT_SIGNATURES, tf.saved_model.PREDICT_METHOD_NAME)
    return {**predict, name: of_examples[name]}


def expected(contract: Contract, names: tuple[str, ...]) -> Signatures:
    """What some of a model's signatures must look like, in either file."""
    answer = TensorInfo("float32", (-1, contract.output_width))
    tensor = TensorInfo("float32", (-1, *contract.encoded.shape))
    strings = TensorInfo("string", (-1,))
    examples = {EXAMPLES_INPUT: strings}
    classes = TensorInfo("string", (-1, contract.output_width))
    known: Signatures = {
        PREDICT_SIGNATURE: ({contract.encoded.name: tensor}, {contract.output: answer}),
        CONTRACT_SIGNATURE: (
            {CONTRACT_INPUT: TensorInfo("int32", (-1,))},
            {CONTRACT_OUTPUT: strings},
        ),
        CLASSIFY_SIGNATURE: (examples, {CLASSES: classes, SCORES: answer}),
        REGRESS_SIGNATURE: (examples, {REGRESS_OUTPUT: answer}),
    }
    return {name: known[name] for name in names}


def functions(
    predict: Predict, contract: Contract, names: tuple[str, ...], batch: int | None = None
) -> dict[str, Any]:
    """Some of a model's signatures as functions that a SavedModel can hold.

    Args:
        predict: the model.
        contract: of the model.
        names: of the signatures.
        batch: how many examples serving_default takes; None is any number.
    """
    document = contract.to_json()
    name = contract.encoded.name
    feature = tf.io.FixedLenFeature(contract.encoded.shape, contract.encoded.dtype)

    def serving_default(tensor: Tensor) -> dict[str, Tensor]:
        return {contract.output: predict(tensor)}

    def answer_contract(query: Tensor) -> dict[str, Tensor]:
        return {CONTRACT_OUTPUT: tf.fill(tf.shape(query), tf.constant(document))}

    def parsed(inputs: Tensor) -> Tensor:
        return predict(tf.io.parse_example(inputs, {name: feature})[name])

    def classify(inputs: Tensor) -> dict[str, Tensor]:
        scores = parsed(inputs)
        labels = tf.constant([contract.labels])
        return {CLASSES: tf.tile(labels, [tf.shape(scores)[0], 1]), SCORES: scores}

    def regress(inputs: Tensor) -> dict[str, Tensor]:
        return {REGRESS_OUTPUT: parsed(inputs)}

    examples = tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT)
    query = tf.TensorSpec([None], tf.int32, name=CONTRACT_INPUT)
    known = {
        PREDICT_SIGNATURE: (serving_default, tensor_spec(contract, batch)),
        CONTRACT_SIGNATURE: (answer_contract, query),
        CLASSIFY_SIGNATURE: (classify, examples),
        REGRESS_SIGNATURE: (regress, examples),
    }
    return {
        signature: tf.function(function, input_signature=[spec])
        for signature, (function, spec) in known.items()
        if signature in names
    }


def tensor_spec(contract: Contract, batch: int | None = None) -> Any:
    """What the model takes: so many examples, or any number."""
    spec = contract.encoded
    return tf.TensorSpec([batch, *spec.shape], spec.dtype, name=spec.name)


def name_methods(folder: Path, contract: Contract) -> None:
    """Write into a SavedModel which method of TensorFlow Serving each signature is for.

    Saving names every signature as one for Predict, and then :classify and :regress refuse it.
    """
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for signature, method in methods(contract).items():
        updater.replace_method_name(signature, method)
    updater.save()
    # It holds a hash of the file that has just changed.
    write_fingerprint(str(folder))
