"""Export: a SavedModel and LiteRT files that answer the same and carry their own contract.

Layout of a version:

    models/cnn/3/saved_model.pb, variables/    all signatures, for TensorFlow Serving
    models/cnn/3/model.tflite                  serving_default and contract, without TensorFlow
    models/cnn/3/edge.tflite                   prediction of one example, for any LiteRT interpreter
    models/cnn/3/assets.extra/contract.json    the document, for people and tools
    models/cnn/3/assets.extra/tf_serving_warmup_requests    replayed before the first request
    models/cnn/3/manifest.json                 size and SHA-256 of every other file
"""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from serving.contract import CONTRACT_FILE, PREDICT_SIGNATURE, Contract
from training.errors import ExportError
from training.opening import open_edge
from training.prepared import GoldenSamples
from training.publish import publication
from training.quantization import Quantization, Quantized, configure, judged, litert_answer
from training.readback import EDGE_FILE, LITERT_FILE, verify
from training.signatures import (
    LITERT_SIGNATURES,
    Predict,
    functions,
    methods,
    name_methods,
    tensor_spec,
)
from training.tensorflow_setup import ConverterError, freeze, quiet_native_log, tf
from training.tflite_metadata import with_metadata
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
    held: bool = False,
    litert: bool = True,
) -> Exported:
    """Write a model, read it back, and publish it as the next version.

    Args:
        predict: the model, in TensorFlow operations; takes any number of examples.
        trackables: what owns the variables that it reads: tf.Variables or tf.Modules. Not Keras
            models: copies of their variables would be saved, which no function reads.
        draft: the contract; its version is replaced by the one that is published.
        golden: samples as users send them, and what preprocessing made of them.
        models: the folder above the folders of models.
        quantization: makes the LiteRT files smaller, if that costs little enough; the contract's
            metrics then have a figure more.
        documents: further texts of the version, such as PurePath("assets.extra/model_card.md").
        held: whether it is published but not served.
        litert: whether with LiteRT files; TensorFlow alone runs a version without them.

    Raises:
        ExportError: it cannot be written or converted, does not read back the same, or loses too
            much when it is quantised; nothing was published.
    """
    with publication(models / draft.model, held=held) as incoming:
        contract = msgspec.structs.replace(draft, version=incoming.version)
        folder, quantized = incoming.folder, None
        try:
            with quiet_native_log():
                if litert:
                    edge = _litert(folder, predict, contract, (PREDICT_SIGNATURE,), quantization, 1)
                    if quantization is not None:
                        # Before anything is written, because the contract tells of it.
                        model = _litert(folder, predict, contract, LITERT_SIGNATURES, quantization)
                        answer = litert_answer(model, contract)
                        quantized = Quantized(answer, open_edge(edge).answer)
                        contract = judged(contract, quantization, quantized)
                    model = _litert(folder, predict, contract, LITERT_SIGNATURES, quantization)
                    (folder / LITERT_FILE).write_bytes(model)
                    (folder / EDGE_FILE).write_bytes(with_metadata(edge, contract))
                _save(folder, predict, trackables, contract, tuple(methods(contract)))
                name_methods(folder, contract)
                _write_beside(folder, contract, golden, documents)
                verify(folder, predict, contract, golden, quantized, litert=litert)
        except (tf.errors.OpError, ConverterError) as error:
            raise ExportError(f"TensorFlow cannot export {draft.model}: {error}") from error
    return Exported(incoming.target, contract)


def _write_beside(
    folder: Path, contract: Contract, golden: GoldenSamples, documents: Documents | None
) -> None:
    texts = {CONTRACT_FILE: contract.to_json(), **(documents(contract) if documents else {})}
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    write_warmup(folder, contract, golden.tensors)


def _litert(
    folder: Path,
    predict: Predict,
    contract: Contract,
    names: tuple[str, ...],
    quantization: Quantization | None = None,
    batch: int | None = None,
) -> bytes:
    """A LiteRT file with the signatures of these names, for so many examples or any number."""
    # Made and removed within the version's folder: a disk that has room for the one usually has
    # room for the other, and a dead publisher's leftovers go with the rest.
    frozen = folder / "frozen"
    _save(frozen, _frozen(predict, contract, batch), (), contract, names, batch)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(frozen), signature_keys=[*names])
    if quantization is not None:
        configure(converter, quantization, contract)
    with warnings.catch_warnings():
        # Calibration uses an interpreter that TensorFlow itself deprecates.
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter")
        content: bytes = converter.convert()
    shutil.rmtree(frozen)
    return content


def _save(
    folder: Path,
    predict: Predict,
    trackables: Sequence[Any],
    contract: Contract,
    names: tuple[str, ...],
    batch: int | None = None,
) -> None:
    """Write a SavedModel with the signatures of these names."""
    module = tf.Module()
    module.trackables = list(trackables)
    signatures = functions(predict, contract, names, batch)
    # Nobody trains an export, and gradients of EfficientNet's own kind cannot be saved.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)


def _frozen(predict: Predict, contract: Contract, batch: int | None = None) -> Predict:
    """The model with its variables made constants.

    The converter (TensorFlow 2.20) leaves variables of Keras 3 uninitialised, and then answers NaN.
    """
    concrete = tf.function(predict, input_signature=[tensor_spec(contract, batch)])
    constant = freeze(concrete.get_concrete_function())
    return lambda tensor: tf.nest.flatten(constant(tensor))[0]
