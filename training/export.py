"""Export: a SavedModel and a LiteRT file that answer the same and carry their own contract.

Layout of a version:

    models/cnn/3/saved_model.pb, variables/    serving_default and contract, for TensorFlow Serving
    models/cnn/3/model.tflite                  the same two signatures, without TensorFlow
    models/cnn/3/assets.extra/contract.json    the document, for people and tools
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from serving.contract import (
    CONTRACT_FILE,
    CONTRACT_INPUT,
    CONTRACT_OUTPUT,
    CONTRACT_SIGNATURE,
    PREDICT_OUTPUT,
    PREDICT_SIGNATURE,
    Contract,
)
from training.errors import ExportError
from training.publish import publication
from training.readback import LITERT_FILE, Golden, verify
from training.tensorflow_setup import ConverterError, Tensor, freeze, quiet_native_log, tf

# float32 [n, *shape of one example] to float32 [n, classes].
Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """What was published: the version's folder, and the contract with the version's number."""

    folder: Path
    contract: Contract


def export(
    predict: Predict, trackables: Sequence[Any], draft: Contract, golden: Golden, models: Path
) -> Exported:
    """Write a model, read it back, and publish it as the next version.

    Args:
        predict: the model, in TensorFlow operations; takes any number of examples.
        trackables: what owns the variables that it reads: Keras models, tf.Modules, tf.Variables.
        draft: the contract; its version is replaced by the one that is published.
        golden: raw images and what preprocessing made of them, to compare all paths with.
        models: the folder above the folders of models.

    Raises:
        ExportError: it cannot be written or converted, or does not read back the same; nothing
            was published.
    """
    with publication(models / draft.model) as incoming:
        contract = msgspec.structs.replace(draft, version=incoming.version)
        try:
            with quiet_native_log():
                _write(incoming.folder, predict, trackables, contract)
                verify(incoming.folder, predict, contract, golden)
        except (tf.errors.OpError, ConverterError) as error:
            raise ExportError(f"TensorFlow cannot export {draft.model}: {error}") from error
    return Exported(incoming.target, contract)


def _write(folder: Path, predict: Predict, trackables: Sequence[Any], contract: Contract) -> None:
    # Made and removed within the version's folder: a disk that has room for the one usually has
    # room for the other, and a dead publisher's leftovers go with the rest.
    frozen = folder / "frozen"
    _save(frozen, _frozen(predict, contract), (), contract)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(frozen), signature_keys=[PREDICT_SIGNATURE, CONTRACT_SIGNATURE]
    )
    (folder / LITERT_FILE).write_bytes(converter.convert())
    shutil.rmtree(frozen)
    _save(folder, predict, trackables, contract)
    document = folder / CONTRACT_FILE
    document.parent.mkdir()
    document.write_text(contract.to_json(), encoding="utf-8")


def _save(folder: Path, predict: Predict, trackables: Sequence[Any], contract: Contract) -> None:
    """Write a SavedModel with both signatures."""
    document = contract.to_json()

    def serving_default(image: Tensor) -> dict[str, Tensor]:
        return {PREDICT_OUTPUT: predict(image)}

    def answer_contract(query: Tensor) -> dict[str, Tensor]:
        return {CONTRACT_OUTPUT: tf.fill(tf.shape(query), tf.constant(document))}

    module = tf.Module()
    module.trackables = list(trackables)
    query = tf.TensorSpec([None], tf.int32, name=CONTRACT_INPUT)
    signatures = {
        PREDICT_SIGNATURE: tf.function(serving_default, input_signature=[_example(contract)]),
        CONTRACT_SIGNATURE: tf.function(answer_contract, input_signature=[query]),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _frozen(predict: Predict, contract: Contract) -> Predict:
    """The model with its variables made constants.

    The converter (TensorFlow 2.20) leaves variables of Keras 3 uninitialised, and then answers NaN.
    """
    concrete = tf.function(predict, input_signature=[_example(contract)]).get_concrete_function()
    constant = freeze(concrete)
    return lambda image: tf.nest.flatten(constant(image))[0]


def _example(contract: Contract) -> Any:
    spec = contract.input
    return tf.TensorSpec([None, *spec.shape], spec.dtype, name=spec.name)
