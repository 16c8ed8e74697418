"""Export of a model of named tensors: like that of images and rows, without preprocessing to check.

Its signatures are `serving_default`, with the inputs and outputs that the contract describes, and
`contract`. There is no classify or regress, as a tf.Example could not hold every tensor.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import (
    CONTRACT_FILE,
    CONTRACT_INPUT,
    CONTRACT_OUTPUT,
    CONTRACT_SIGNATURE,
    PREDICT_SIGNATURE,
    Contract,
    TensorInput,
)
from rockstar_training.errors import ExportError
from rockstar_training.export import Exported, publication, write_requests
from rockstar_training.loaders import Run, open_litert, open_saved_model
from rockstar_training.readback import LITERT_FILE, TOLERANCE
from rockstar_training.signatures import LITERT_SIGNATURES, Signatures
from rockstar_training.tensorflow_setup import Tensor, freeze, quiet_native_log, tf

Tensors = dict[str, Tensor]
Arrays = dict[str, NDArray[Any]]
# Tensors [n, …] by name to tensors [n, …] by name.
PredictTensors = Callable[[Tensors], Tensors]


def export_tensors(
    predict: PredictTensors, owner: Any, draft: Contract, golden: Arrays, models: Path
) -> tuple[Exported, str]:
    """Write a model, read it back, and publish it as the next version.

    Args:
        predict: the model, in TensorFlow operations.
        owner: keeps its variables, tables and assets.
        draft: the contract, of tensors; its version is replaced by the one that is published.
        golden: samples, arrays [n, …] by the names of the inputs.
        models: the folder above the folders of models.

    Returns:
        What was published, and why it has no LiteRT file; "" where it has one.

    Raises:
        ExportError: it cannot be written or does not read back the same; nothing was published.
    """
    with publication(models / draft.model) as incoming:
        contract = msgspec.structs.replace(draft, version=incoming.version)
        folder = incoming.folder
        try:
            with quiet_native_log():
                _save(folder, predict, owner, contract)
                run = _opened("the SavedModel", lambda: open_saved_model(folder), contract)
                reference = _reference(predict, golden)
                _require_same("the SavedModel", run, golden, reference)
                problem = _write_litert(folder, predict, contract, golden, reference)
                path = folder / CONTRACT_FILE
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(contract.to_json(), encoding="utf-8")
                write_requests(folder, contract, _warmup(golden))
        except tf.errors.OpError as error:
            raise ExportError(f"TensorFlow cannot export {draft.model}: {error}") from error
    return Exported(incoming.target, contract), problem


def _save(folder: Path, predict: PredictTensors, owner: Any, contract: Contract) -> None:
    document = contract.to_json()

    def answer_contract(query: Tensor) -> Tensors:
        return {CONTRACT_OUTPUT: tf.fill(tf.shape(query), tf.constant(document))}

    module = tf.Module()
    module.owner = owner
    query = tf.TensorSpec([None], tf.int32, name=CONTRACT_INPUT)
    signatures = {
        PREDICT_SIGNATURE: tf.function(predict, input_signature=[_specs(contract)]),
        CONTRACT_SIGNATURE: tf.function(answer_contract, input_signature=[query]),
    }
    # Gradients of swish's own kind cannot be saved; EfficientNet has them.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=signatures, options=options)


def _write_litert(
    folder: Path, predict: PredictTensors, contract: Contract, golden: Arrays, reference: Arrays
) -> str:
    """Write the LiteRT file, if LiteRT can run the model; else say why it cannot."""
    frozen = folder / "frozen"
    try:
        concrete = tf.function(predict, input_signature=[_specs(contract)]).get_concrete_function()
        constant, names = freeze(concrete), sorted(_specs(contract))

        def call(tensors: Tensors) -> Tensors:
            outputs = constant(*(tensors[name] for name in names))
            flat = tf.nest.flatten(outputs)
            return dict(zip(sorted(concrete.structured_outputs), flat, strict=True))

        _save(frozen, call, None, contract)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(frozen), signature_keys=[*LITERT_SIGNATURES]
        )
        content: bytes = converter.convert()
        run = _opened("the LiteRT file", lambda: open_litert(content), contract)
        _require_same("the LiteRT file", run, golden, reference)
    except Exception as error:  # whatever freezing, converting and running raise
        return " ".join(str(error).split()) or type(error).__name__
    finally:
        _remove(frozen)
    (folder / LITERT_FILE).write_bytes(content)
    return ""


def _specs(contract: Contract) -> dict[str, Any]:
    if not isinstance(contract.input, TensorInput):
        raise TypeError(f"{contract.model} takes no tensors")
    return {
        tensor.name: tf.TensorSpec([None, *tensor.shape], tensor.dtype, name=tensor.name)
        for tensor in contract.input.tensors
    }


def _opened(what: str, opening: Callable[[], tuple[Signatures, Run]], contract: Contract) -> Run:
    """What runs a file, once its signatures have the right names and its contract is right."""
    try:
        signatures, run = opening()
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{what} cannot be read back: {error}") from error
    outputs = [output.name for output in contract.outputs] or [contract.output]
    inputs, answered = signatures.get(PREDICT_SIGNATURE, ({}, {}))
    if (sorted(inputs), sorted(answered)) != (sorted(_specs(contract)), sorted(outputs)):
        raise ExportError(
            f"{what} takes {sorted(inputs)} and answers {sorted(answered)}, expected "
            f"{sorted(_specs(contract))} and {sorted(outputs)}"
        )
    query = {CONTRACT_INPUT: np.ones(1, dtype=np.int32)}
    if run(CONTRACT_SIGNATURE, query)[CONTRACT_OUTPUT][0] != contract.to_json().encode():
        raise ExportError(f"the contract that {what} answers is not the one that was written")
    return run


def _reference(predict: PredictTensors, golden: Arrays) -> Arrays:
    outputs = predict({name: tf.constant(array) for name, array in golden.items()})
    return {name: np.asarray(output) for name, output in outputs.items()}


def _require_same(what: str, run: Run, golden: Arrays, reference: Arrays) -> None:
    """Compare answers for one, three and all samples: also each must not depend on the others."""
    total = len(next(iter(golden.values())))
    for size in (1, 3, total):
        outputs = run(PREDICT_SIGNATURE, {name: array[:size] for name, array in golden.items()})
        for name, whole in reference.items():
            wanted, got = whole[:size], outputs[name]
            if got.shape != wanted.shape:
                raise ExportError(
                    f"for {size} of {total} samples {what} answers {name} of shape "
                    f"{[*got.shape]}, expected {[*wanted.shape]}"
                )
            if not _close(got, wanted):
                raise ExportError(
                    f"for {size} of {total} samples {what} answers another {name} than the model "
                    "itself for all together"
                )


def _close(got: NDArray[Any], wanted: NDArray[Any]) -> bool:
    if wanted.dtype.kind != "f":
        return bool((got == wanted).all())
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return bool(np.allclose(got, wanted, rtol=0, atol=TOLERANCE * scale, equal_nan=False))


def _warmup(golden: Arrays) -> Iterator[Arrays]:
    for size in (1, 2, 4, 8):
        yield {name: array[:size] for name, array in golden.items()}


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
