"""Reading an export back before anyone else can: each file must promise and answer the same.

Compared are the signatures, the contract, and golden samples through three paths: the function that
was exported, the SavedModel and the LiteRT file.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from serving.contract import (
    CONTRACT_FILE,
    CONTRACT_INPUT,
    CONTRACT_OUTPUT,
    CONTRACT_SIGNATURE,
    PREDICT_OUTPUT,
    PREDICT_SIGNATURE,
    Contract,
)
from serving.inputs import prepare
from training.errors import ExportError
from training.tensorflow_setup import Tensor, tf

LITERT_FILE = "model.tflite"
TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Golden:
    """Samples that every path must agree on.

    Attributes:
        images: uint8 [n, h, w, 1 or 3], as a user has them; n is more than 3.
        tensors: float32 [n, *shape of one example], as training made of them.
    """

    images: NDArray[np.uint8]
    tensors: NDArray[np.float32]


class TensorInfo(NamedTuple):
    """What a signature says of a tensor; -1 is the batch, of any size."""

    dtype: str
    shape: tuple[int, ...]


# Signature to its inputs and outputs, each by name.
Signatures = dict[str, tuple[dict[str, TensorInfo], dict[str, TensorInfo]]]
# Signature and its one input to its outputs.
Run = Callable[[str, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def verify(
    folder: Path, predict: Callable[[Tensor], Tensor], contract: Contract, golden: Golden
) -> None:
    """Check that what lies in a version's folder is what was meant.

    Args:
        folder: with a SavedModel, a LiteRT file and a contract.
        predict: the function that was exported.
        contract: that was written.
        golden: samples.

    Raises:
        ExportError: the first difference, in a sentence.
    """
    document = contract.to_json()
    _require((folder / CONTRACT_FILE).read_text("utf-8") == document, f"{CONTRACT_FILE} differs")
    _require_same_preprocessing(contract, golden)
    for what, opened in (("the SavedModel", _saved_model), ("the LiteRT file", _litert)):
        try:
            signatures, run = opened(folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise ExportError(f"{what} cannot be read back: {error}") from error
        _require_signatures(what, signatures, _expected(contract))
        _require_contract(what, run, document)
        _require_answers(what, run, predict, contract, golden)


def _require_same_preprocessing(contract: Contract, golden: Golden) -> None:
    for number, (pixels, tensor) in enumerate(zip(golden.images, golden.tensors, strict=True)):
        prepared = prepare(_png(pixels), contract.input, field="a golden image")
        _require(
            np.array_equal(prepared, tensor),
            f"golden image {number}, sent as PNG, becomes another tensor than in training",
        )


def _require_signatures(what: str, got: Signatures, expected: Signatures) -> None:
    _require(
        got.keys() == expected.keys(), f"{what} has the signatures {sorted(got)}, not {[*expected]}"
    )
    for name, sides in expected.items():
        for side, tensors, wanted in zip(("inputs", "outputs"), got[name], sides, strict=True):
            _require(
                tensors == wanted, f"{side} of {name} in {what} are {tensors}, expected {wanted}"
            )


def _require_contract(what: str, run: Run, document: str) -> None:
    query = np.ones(2, dtype=np.int32)
    answers = run(CONTRACT_SIGNATURE, {CONTRACT_INPUT: query})[CONTRACT_OUTPUT]
    same = answers.shape == (2,) and all(answer == document.encode() for answer in answers)
    _require(same, f"the contract that {what} answers is not the one that was written")


def _require_answers(
    what: str, run: Run, predict: Callable[[Tensor], Tensor], contract: Contract, golden: Golden
) -> None:
    for size in (1, 3, len(golden.tensors)):
        batch = golden.tensors[:size]
        expected = np.asarray(predict(tf.constant(batch)))
        answer = run(PREDICT_SIGNATURE, {contract.input.name: batch})[PREDICT_OUTPUT]
        finite = bool(np.isfinite(expected).all() and np.isfinite(answer).all())
        _require(finite, f"{what} or the model itself answers NaN or infinity for {size} images")
        shape = (size, len(contract.labels))
        _require(
            answer.shape == expected.shape == shape,
            f"for {size} images {what} answers {answer.shape} and the model itself "
            f"{expected.shape}, expected {shape}",
        )
        difference = float(np.abs(answer - expected).max())
        _require(
            difference <= TOLERANCE,
            f"{what} answers differ from the model's own by {difference:.2g} for {size} images",
        )


def _expected(contract: Contract) -> Signatures:
    image = TensorInfo("float32", (-1, *contract.input.shape))
    probabilities = TensorInfo("float32", (-1, len(contract.labels)))
    query, answer = TensorInfo("int32", (-1,)), TensorInfo("string", (-1,))
    return {
        PREDICT_SIGNATURE: ({contract.input.name: image}, {PREDICT_OUTPUT: probabilities}),
        CONTRACT_SIGNATURE: ({CONTRACT_INPUT: query}, {CONTRACT_OUTPUT: answer}),
    }


def _saved_model(folder: Path) -> tuple[Signatures, Run]:
    loaded = tf.saved_model.load(str(folder))

    def infos(specs: dict[str, Any]) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(spec.dtype.name, tuple(-1 if d is None else d for d in spec.shape))
            for name, spec in specs.items()
        }

    def run(signature: str, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {k: v.numpy() for k, v in loaded.signatures[signature](**tensors).items()}

    signatures = {
        name: (infos(function.structured_input_signature[1]), infos(function.structured_outputs))
        for name, function in loaded.signatures.items()
    }
    return signatures, run


def _litert(folder: Path) -> tuple[Signatures, Run]:
    interpreter = Interpreter(model_path=str(folder / LITERT_FILE), num_threads=1)
    names = interpreter.get_signature_list()
    runners = {name: interpreter.get_signature_runner(name) for name in names}

    def infos(details: dict[str, dict[str, Any]]) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(_dtype(detail), tuple(int(d) for d in detail["shape_signature"]))
            for name, detail in details.items()
        }

    signatures = {
        name: (infos(runner.get_input_details()), infos(runner.get_output_details()))
        for name, runner in runners.items()
    }
    return signatures, lambda signature, inputs: runners[signature](**inputs)


def _dtype(detail: dict[str, Any]) -> str:
    # Strings are bytes to NumPy.
    name = np.dtype(detail["dtype"]).name
    return "string" if name.startswith("bytes") else name


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def _require(right: bool, difference: str) -> None:
    if not right:
        raise ExportError(f"the export does not read back as it was meant: {difference}")
