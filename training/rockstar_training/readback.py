"""Reading an export back before anyone else can: each file must promise and answer the same.

Compared are the signatures, the contract, and golden samples through every path: the function that
was exported, the SavedModel, by tensor and by tf.Example, and both LiteRT files.
"""

from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from rockstar_contract.contract import (
    CONTRACT_FILE,
    CONTRACT_INPUT,
    CONTRACT_OUTPUT,
    CONTRACT_SIGNATURE,
    PREDICT_SIGNATURE,
    Contract,
)
from rockstar_contract.inputs import prepare
from rockstar_training.errors import ExportError
from rockstar_training.evaluation import Answer
from rockstar_training.loaders import Run, open_edge, open_litert, open_saved_model, saved_methods
from rockstar_training.prepared import GoldenSamples
from rockstar_training.quantization import Quantized
from rockstar_training.signatures import (
    CLASSES,
    CLASSIFY_SIGNATURE,
    EXAMPLES_INPUT,
    LITERT_SIGNATURES,
    REGRESS_OUTPUT,
    SCORES,
    Predict,
    Signatures,
    TensorInfo,
    example_signature,
    expected,
    methods,
)
from rockstar_training.tensorflow_setup import tf
from rockstar_training.tflite_metadata import contract_files, packed_files

LITERT_FILE = "model.tflite"
EDGE_FILE = "edge.tflite"
# Of probabilities; of a regression's values as a share of the target's standard deviation.
TOLERANCE = 1e-4


def verify(
    folder: Path,
    predict: Predict,
    contract: Contract,
    golden: GoldenSamples,
    quantized: Quantized | None = None,
    *,
    litert: bool = True,
) -> None:
    """Check that what lies in a version's folder is what was meant.

    Args:
        folder: with a SavedModel, both LiteRT files and a contract.
        predict: the function that was exported.
        contract: that was written.
        golden: samples.
        quantized: what the LiteRT files must answer, where they were quantised.
        litert: whether there are LiteRT files.

    Raises:
        ExportError: the first difference, in a sentence.
    """
    _require(
        (folder / CONTRACT_FILE).read_text("utf-8") == contract.to_json(),
        f"{CONTRACT_FILE} differs",
    )
    _require_same_preprocessing(contract, golden)

    def itself(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(predict(tf.constant(batch)))

    saved, lite = "the SavedModel", "the LiteRT file"
    names = tuple(methods(contract))
    run = _opened(saved, lambda: open_saved_model(folder), contract, names)
    _require_methods(folder, contract)
    _require_answers(saved, _by_tensor(run, contract), itself, contract, golden)
    by_example = _by_example(run, contract)
    _require_answers(f"{names[-1]} in {saved}", by_example, itself, contract, golden)
    if not litert:
        return
    content = (folder / LITERT_FILE).read_bytes()
    run = _opened(lite, lambda: open_litert(content), contract, LITERT_SIGNATURES)
    model, edge = quantized or (itself, itself)
    _require_answers(lite, _by_tensor(run, contract), model, contract, golden)
    _verify_edge((folder / EDGE_FILE).read_bytes(), edge, contract, golden)


def _verify_edge(
    content: bytes, reference: Answer, contract: Contract, golden: GoldenSamples
) -> None:
    """The file for one example: one input, one output, labels and contract appended."""
    try:
        edge, files = open_edge(content), packed_files(content)
    except (ValueError, RuntimeError, BadZipFile) as error:
        raise ExportError(f"{EDGE_FILE} cannot be read back: {error}") from error
    wanted = (
        [TensorInfo("float32", (1, *contract.encoded.shape))],
        [TensorInfo("float32", (1, contract.output_width))],
    )
    got = (edge.inputs, edge.outputs)
    _require(got == wanted, f"inputs and outputs of {EDGE_FILE} are {got}, expected {wanted}")
    _require(
        files == contract_files(contract), f"the files in {EDGE_FILE} are not those of the contract"
    )
    _require_answers(EDGE_FILE, edge.answer, reference, contract, golden)


def _opened(
    what: str,
    opening: Callable[[], tuple[Signatures, Run]],
    contract: Contract,
    names: tuple[str, ...],
) -> Run:
    """What runs a file, once its signatures and its contract are right."""
    try:
        signatures, run = opening()
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{what} cannot be read back: {error}") from error
    _require_signatures(what, signatures, expected(contract, names))
    _require_contract(what, run, contract.to_json())
    return run


def _require_same_preprocessing(contract: Contract, golden: GoldenSamples) -> None:
    for number, (raw, tensor) in enumerate(zip(golden.raw, golden.tensors, strict=True)):
        prepared = prepare(raw, contract.input, field="a golden sample")
        _require(
            np.array_equal(prepared, tensor),
            f"golden sample {number}, as a user sends it, becomes another tensor than in training",
        )


def _require_signatures(what: str, got: Signatures, wanted: Signatures) -> None:
    _require(
        got.keys() == wanted.keys(), f"{what} has the signatures {sorted(got)}, not {[*wanted]}"
    )
    for name, sides in wanted.items():
        for side, tensors, right in zip(("inputs", "outputs"), got[name], sides, strict=True):
            _require(
                tensors == right, f"{side} of {name} in {what} are {tensors}, expected {right}"
            )


def _require_contract(what: str, run: Run, document: str) -> None:
    query = np.ones(2, dtype=np.int32)
    answers = run(CONTRACT_SIGNATURE, {CONTRACT_INPUT: query})[CONTRACT_OUTPUT]
    same = answers.shape == (2,) and all(answer == document.encode() for answer in answers)
    _require(same, f"the contract that {what} answers is not the one that was written")


def _require_methods(folder: Path, contract: Contract) -> None:
    try:
        got = saved_methods(folder)
    except (OSError, ValueError, DecodeError) as error:
        raise ExportError(f"the SavedModel cannot be read back: {error}") from error
    wanted = methods(contract)
    _require(got == wanted, f"the methods of the SavedModel are {got}, expected {wanted}")


def _by_tensor(run: Run, contract: Contract) -> Answer:
    name, output = contract.encoded.name, contract.output
    return lambda batch: run(PREDICT_SIGNATURE, {name: batch})[output]


def _by_example(run: Run, contract: Contract) -> Answer:
    signature = example_signature(contract)

    def answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        # Not NumPy's own strings, which lose zeros at the end.
        examples = np.array([_tf_example(contract.encoded.name, t) for t in batch], dtype=object)
        outputs = run(signature, {EXAMPLES_INPUT: examples})
        if signature != CLASSIFY_SIGNATURE:
            return outputs[REGRESS_OUTPUT]
        labels = [label.encode() for label in contract.labels]
        right = outputs[CLASSES].tolist() == [labels] * len(batch)
        _require(right, f"the classes that {signature} answers are not the labels {[*labels]}")
        return outputs[SCORES]

    return answer


def _tf_example(name: str, tensor: NDArray[np.float32]) -> bytes:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=tensor.ravel()))
    features = tf.train.Features(feature={name: feature})
    message: bytes = tf.train.Example(features=features).SerializeToString()
    return message


def _require_answers(
    what: str, answer: Answer, reference: Answer, contract: Contract, golden: GoldenSamples
) -> None:
    tolerance = _tolerance(contract)
    for size in sorted({1, min(3, len(golden.tensors)), len(golden.tensors)}):
        batch = golden.tensors[:size]
        wanted, got = reference(batch), answer(batch)
        finite = bool(np.isfinite(wanted).all() and np.isfinite(got).all())
        _require(finite, f"{what} or the model itself answers NaN or infinity for {size} examples")
        shape = (size, contract.output_width)
        _require(
            got.shape == wanted.shape == shape,
            f"for {size} examples {what} answers {got.shape} and the model itself "
            f"{wanted.shape}, expected {shape}",
        )
        difference = float(np.abs(got - wanted).max())
        _require(
            difference <= tolerance,
            f"{what} answers differ from the model's own by {difference:.2g} for {size} examples",
        )


def _tolerance(contract: Contract) -> float:
    """The largest difference between two answers that pass for the same."""
    if contract.statistics is None or contract.statistics.target is None:
        return TOLERANCE
    target = contract.statistics.target
    # Far from zero, float32 values cannot be closer to each other than their last bits.
    largest = max(abs(target.minimum), abs(target.maximum))
    return TOLERANCE * (target.std or 1.0) + 8 * float(np.finfo(np.float32).eps) * largest


def _require(right: bool, difference: str) -> None:
    if not right:
        raise ExportError(f"the export does not read back as it was meant: {difference}")
