"""Export: a SavedModel and a LiteRT file that answer the same and carry their own contract.

Layout of a version:

    models/cnn/3/saved_model.pb, variables/    all signatures, for TensorFlow Serving
    models/cnn/3/model.tflite                  serving_default and contract, without TensorFlow
    models/cnn/3/assets.extra/contract.json    the document, for people and tools
    models/cnn/3/assets.extra/tf_serving_warmup_requests    replayed before the first request
    models/cnn/3/manifest.json                 size and SHA-256 of every other file
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from serving.contract import CONTRACT_FILE, Contract
from training.errors import ExportError
from training.evaluation import Answer
from training.prepared import GoldenSamples
from training.publish import publication
from training.quantization import Quantization, judged, litert_answer
from training.readback import LITERT_FILE, verify
from training.signatures import (
    LITERT_SIGNATURES,
    Predict,
    functions,
    methods,
    name_methods,
    tensor_spec,
)
from training.tensorflow_setup import ConverterError, freeze, quiet_native_log, tf
from training.warmup import write_warmup

__all__ = ["Documents", "Exported", "Predict", "export"]

# The contract, with the version's number, to texts by their path in the version's folder.
Documents = Callable[[Contract], Mapping[PurePath, str]]


@dataclass(frozen=True)
class Exported:
    """What was published: the version's folder, and the contract with the version's number."""

    folder: Path
    contract: Contract


def export(
    predict: Predict,
    trackables: Sequence[Any],
    draft: Contract,
    golden: GoldenSamples,
    models: Path,
    *,
    quantization: Quantization | None = None,
    documents: Documents | None = None,
) -> Exported:
    """Write a model, read it back, and publish it as the next version.

    Args:
        predict: the model, in TensorFlow operations; takes any number of examples.
        trackables: what owns the variables that it reads: tf.Variables or tf.Modules. Not Keras
            models: copies of their variables would be saved, which no function reads.
        draft: the contract; its version is replaced by the one that is published.
        golden: samples as users send them, and what preprocessing made of them.
        models: the folder above the folders of models.
        quantization: makes the LiteRT file's weights int8, if that costs little enough; the
            contract's metrics then have a figure more.
        documents: further texts of the version, such as PurePath("assets.extra/model_card.md").

    Raises:
        ExportError: it cannot be written or converted, does not read back the same, or loses too
            much when it is quantised; nothing was published.
    """
    with publication(models / draft.model) as incoming:
        contract = msgspec.structs.replace(draft, version=incoming.version)
        judge = None
        try:
            with quiet_native_log():
                if quantization is not None:
                    # Before anything is written, because the contract tells of it.
                    judge = _quantized(incoming.folder, predict, contract)
                    contract = judged(contract, quantization, judge)
                _write(incoming.folder, predict, trackables, contract, quantize=judge is not None)
                _write_beside(incoming.folder, contract, golden, documents)
                verify(incoming.folder, predict, contract, golden, judge)
        except (tf.errors.OpError, ConverterError) as error:
            raise ExportError(f"TensorFlow cannot export {draft.model}: {error}") from error
    return Exported(incoming.target, contract)


def _write(
    folder: Path,
    predict: Predict,
    trackables: Sequence[Any],
    contract: Contract,
    *,
    quantize: bool,
) -> None:
    """Write the two files that hold the model."""
    (folder / LITERT_FILE).write_bytes(_litert(folder, predict, contract, quantize=quantize))
    _save(folder, predict, trackables, contract, tuple(methods(contract)))
    name_methods(folder, contract)


def _write_beside(
    folder: Path, contract: Contract, golden: GoldenSamples, documents: Documents | None
) -> None:
    texts = {CONTRACT_FILE: contract.to_json(), **(documents(contract) if documents else {})}
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    write_warmup(folder, contract, golden.tensors)


def _quantized(folder: Path, predict: Predict, contract: Contract) -> Answer:
    """The model as it will be in the quantised file, which differs in nothing but its contract."""
    return litert_answer(_litert(folder, predict, contract, quantize=True), contract)


def _litert(folder: Path, predict: Predict, contract: Contract, *, quantize: bool) -> bytes:
    # Made and removed within the version's folder: a disk that has room for the one usually has
    # room for the other, and a dead publisher's leftovers go with the rest.
    frozen = folder / "frozen"
    _save(frozen, _frozen(predict, contract), (), contract, LITERT_SIGNATURES)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(frozen), signature_keys=[*LITERT_SIGNATURES]
    )
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content: bytes = converter.convert()
    shutil.rmtree(frozen)
    return content


def _save(
    folder: Path,
    predict: Predict,
    trackables: Sequence[Any],
    contract: Contract,
    names: tuple[str, ...],
) -> None:
    """Write a SavedModel with the signatures of these names."""
    module = tf.Module()
    module.trackables = list(trackables)
    tf.saved_model.save(module, str(folder), signatures=functions(predict, contract, names))


def _frozen(predict: Predict, contract: Contract) -> Predict:
    """The model with its variables made constants.

    The converter (TensorFlow 2.20) leaves variables of Keras 3 uninitialised, and then answers NaN.
    """
    concrete = tf.function(predict, input_signature=[tensor_spec(contract)])
    constant = freeze(concrete.get_concrete_function())
    return lambda tensor: tf.nest.flatten(constant(tensor))[0]
