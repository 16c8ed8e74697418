"""The signatures of an export: inputs, outputs, and methods of TensorFlow Serving.

    signature        input                          output                          in
    serving_default  image float32 [n, *shape]      probabilities float32 [n, k]    both files
    contract         query int32 [n]                contract string [n]             both files
    classify         inputs string [n], tf.Example  classes string [n, k],          SavedModel
                                                    scores float32 [n, k]
    regress          inputs string [n], tf.Example  outputs float32 [n, 1]          SavedModel

A model has `classify` or `regress`, depending on its task. Their tf.Examples have one feature,
named like the input of `serving_default`: the same tensor as a flattened list of floats. It is not
an image file because clients preprocess, as the contract says, and preprocessing must not exist
twice. LiteRT cannot parse a tf.Example, so its file has only the first two. Over REST:

    POST /v1/models/cnn:classify  {"examples": [{"image": [0.0, 0.5, …]}]}

with a decimal point in every number, as TensorFlow Serving rejects other numbers as integers.

A model of named tensors has `serving_default`, with the contract's inputs and outputs, and
`contract`; a tf.Example could not hold every tensor.
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
    TensorInput,
)
from rockstar_training.tensorflow_setup import Tensor, tf, write_fingerprint

CLASSIFY_SIGNATURE = "classify"
REGRESS_SIGNATURE = "regress"
EXAMPLES_INPUT: str = tf.saved_model.CLASSIFY_INPUTS
CLASSES: str = tf.saved_model.CLASSIFY_OUTPUT_CLASSES
SCORES: str = tf.saved_model.CLASSIFY_OUTPUT_SCORES
REGRESS_OUTPUT: str = tf.saved_model.REGRESS_OUTPUTS
LITERT_SIGNATURES = (PREDICT_SIGNATURE, CONTRACT_SIGNATURE)

# A model in TensorFlow operations: float32 [n, *shape of one example] to float32 [n, classes], or
# [n, 1] for a regression; of named tensors: a dictionary to a dictionary.
Predict = Callable[[Any], Any]


class TensorInfo(NamedTuple):
    """Type and shape of a tensor in a signature; -1 is the batch dimension, of any size."""

    dtype: str
    shape: tuple[int, ...]


# The inputs and outputs, by name, of each signature.
Signatures = dict[str, tuple[dict[str, TensorInfo], dict[str, TensorInfo]]]


def methods(contract: Contract) -> dict[str, str]:
    """Return the method of TensorFlow Serving that each signature of the SavedModel is for."""
    found = dict.fromkeys(LITERT_SIGNATURES, tf.saved_model.PREDICT_METHOD_NAME)
    if isinstance(contract.input, TensorInput):
        return found
    if contract.task == "classification":
        return {**found, CLASSIFY_SIGNATURE: tf.saved_model.CLASSIFY_METHOD_NAME}
    return {**found, REGRESS_SIGNATURE: tf.saved_model.REGRESS_METHOD_NAME}


def expected(contract: Contract, names: tuple[str, ...]) -> Signatures:
    """Return what some signatures of a model must look like, in either file."""
    output = TensorInfo("float32", (-1, contract.output_width))
    tensor = TensorInfo("float32", (-1, *contract.encoded.shape))
    strings = TensorInfo("string", (-1,))
    examples = {EXAMPLES_INPUT: strings}
    classes = TensorInfo("string", (-1, contract.output_width))
    known: Signatures = {
        PREDICT_SIGNATURE: ({contract.encoded.name: tensor}, {contract.output: output}),
        CONTRACT_SIGNATURE: (
            {CONTRACT_INPUT: TensorInfo("int32", (-1,))},
            {CONTRACT_OUTPUT: strings},
        ),
        CLASSIFY_SIGNATURE: (examples, {CLASSES: classes, SCORES: output}),
        REGRESS_SIGNATURE: (examples, {REGRESS_OUTPUT: output}),
    }
    return {name: known[name] for name in names}


def functions(
    predict: Predict, contract: Contract, names: tuple[str, ...], batch: int | None = None
) -> dict[str, Any]:
    """Create some signatures of a model as functions that a SavedModel can hold.

    With a `batch`, serving_default takes this number of examples; else any number.
    """
    spec, document = contract.input, contract.to_json()

    def serving_default(inputs: Any) -> dict[str, Tensor]:
        outputs: Any = predict(inputs)
        return outputs if isinstance(spec, TensorInput) else {contract.output: outputs}

    def return_contract(query: Tensor) -> dict[str, Tensor]:
        return {CONTRACT_OUTPUT: tf.fill(tf.shape(query), tf.constant(document))}

    def parsed(inputs: Tensor) -> Tensor:
        spec = contract.encoded
        feature = {spec.name: tf.io.FixedLenFeature(spec.shape, spec.dtype)}
        return predict(tf.io.parse_example(inputs, feature)[spec.name])

    def classify(inputs: Tensor) -> dict[str, Tensor]:
        scores = parsed(inputs)
        labels = tf.constant([contract.labels])
        return {CLASSES: tf.tile(labels, [tf.shape(scores)[0], 1]), SCORES: scores}

    def regress(inputs: Tensor) -> dict[str, Tensor]:
        return {REGRESS_OUTPUT: parsed(inputs)}

    examples = tf.TensorSpec([None], tf.string, name=EXAMPLES_INPUT)
    known = {
        PREDICT_SIGNATURE: (serving_default, input_spec(contract, batch)),
        CONTRACT_SIGNATURE: (return_contract, tf.TensorSpec([None], tf.int32, name=CONTRACT_INPUT)),
        CLASSIFY_SIGNATURE: (classify, examples),
        REGRESS_SIGNATURE: (regress, examples),
    }
    return {name: tf.function(known[name][0], input_signature=[known[name][1]]) for name in names}


def input_spec(contract: Contract, batch: int | None = None) -> Any:
    """Return the tf.TensorSpec of the model's input; of named tensors, a dictionary of them."""
    if isinstance(contract.input, TensorInput):
        return {
            tensor.name: tf.TensorSpec([batch, *tensor.shape], tensor.dtype, name=tensor.name)
            for tensor in contract.input.tensors
        }
    spec = contract.encoded
    return tf.TensorSpec([batch, *spec.shape], spec.dtype, name=spec.name)


def name_methods(folder: Path, contract: Contract) -> None:
    """Write the method of TensorFlow Serving for each signature into a SavedModel.

    TensorFlow saves all signatures for Predict, and :classify and :regress reject those.
    """
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for signature, method in methods(contract).items():
        updater.replace_method_name(signature, method)
    updater.save()
    # The fingerprint contains a hash of the file that was just changed.
    write_fingerprint(str(folder))
