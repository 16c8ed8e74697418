"""Reading an export back before it is published: all files must promise and answer the same.

Signatures, contract, and the outputs for golden samples are compared between the exported function,
the SavedModel, by tensor and by tf.Example, and the LiteRT files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
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
from rockstar_training import signatures
from rockstar_training.errors import ExportError
from rockstar_training.evaluation import Predictor
from rockstar_training.prepared_data import GoldenSamples
from rockstar_training.signatures import LITERT_SIGNATURES, Predict, Signatures, TensorInfo
from rockstar_training.tensorflow_setup import SavedModel, tf
from rockstar_training.tflite_metadata import contract_files, packed_files

LITERT_FILE = "model.tflite"
EDGE_FILE = "edge.tflite"
# Largest difference of probabilities; of a regression's values, as a share of the target's standard
# deviation.
TOLERANCE = 1e-4
# Signatures that run when a SavedModel is loaded.
_INTERNAL = "__saved_model_"

# Arrays [n, …] by name.
Arrays = dict[str, NDArray[Any]]
# Runs a signature.
Run = Callable[[str, Arrays], Arrays]


class Edge(NamedTuple):
    """The main graph of a LiteRT file."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    predictor: Predictor


def open_saved_model(folder: Path) -> tuple[Signatures, Run]:
    """Load a SavedModel; return its signatures and a function that runs them.

    It is loaded into a session, as TensorFlow Serving does: tf.saved_model.load also finds
    variables that a session does not restore.

    Raises:
        OSError, ValueError, RuntimeError: it cannot be loaded.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
    definitions = {n: d for n, d in loaded.signature_def.items() if not n.startswith(_INTERNAL)}

    def infos(tensors: Any) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(
                tf.as_dtype(info.dtype).name, tuple(dim.size for dim in info.tensor_shape.dim)
            )
            for name, info in tensors.items()
        }

    def run(signature: str, inputs: Arrays) -> Arrays:
        definition = definitions[signature]
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: info.name for name, info in definition.outputs.items()}
        outputs: Arrays = session.run(fetches, feeds)
        return outputs

    return {name: (infos(d.inputs), infos(d.outputs)) for name, d in definitions.items()}, run


def open_litert(content: bytes) -> tuple[Signatures, Run]:
    """Load a LiteRT file; return its signatures and a function that runs them."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    names = interpreter.get_signature_list()
    runners = {name: interpreter.get_signature_runner(name) for name in names}

    def infos(details: dict[str, dict[str, Any]]) -> dict[str, TensorInfo]:
        return {name: _litert_info(detail) for name, detail in details.items()}

    found = {
        name: (infos(runner.get_input_details()), infos(runner.get_output_details()))
        for name, runner in runners.items()
    }
    return found, lambda signature, inputs: runners[signature](**inputs)


def predictor_of(predict: Predict) -> Predictor:
    """Return a model in TensorFlow operations as a function of arrays."""
    return lambda batch: np.asarray(predict(tf.constant(batch)))


def litert_predictor(content: bytes, contract: Contract) -> Predictor:
    """Load a LiteRT file; return its prediction function."""
    return _predict(open_litert(content)[1], contract)


def open_edge(content: bytes) -> Edge:
    """Load a LiteRT file like an interpreter without support for signatures or resizing.

    Its function runs the file once for each example.
    """
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def predictor(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = []
        for example in batch:
            interpreter.set_tensor(inputs[0]["index"], example[np.newaxis])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(outputs[0]["index"]))
        return np.concatenate(answers)

    return Edge([*map(_litert_info, inputs)], [*map(_litert_info, outputs)], predictor)


def _litert_info(detail: dict[str, Any]) -> TensorInfo:
    name = np.dtype(detail["dtype"]).name
    # NumPy has strings as bytes.
    dtype = "string" if name.startswith("bytes") else name
    return TensorInfo(dtype, tuple(map(int, detail["shape_signature"])))


def verify(
    folder: Path,
    predict: Predict,
    contract: Contract,
    golden: GoldenSamples,
    quantized: tuple[Predictor, Predictor] | None = None,
    *,
    litert: bool = True,
) -> None:
    """Check the files of a version of images or rows against the exported function.

    If they are quantized, model.tflite and edge.tflite are checked against these predictors.

    Raises:
        ExportError: the first difference, in a sentence.
    """
    same = (folder / CONTRACT_FILE).read_text("utf-8") == contract.to_json()
    _require(same, f"{CONTRACT_FILE} differs")
    for number, (raw, tensor) in enumerate(zip(golden.raw, golden.tensors, strict=True)):
        _require(
            np.array_equal(prepare(raw, contract.input, field="a golden sample"), tensor),
            f"golden sample {number}, as a user sends it, becomes another tensor than in training",
        )

    itself = predictor_of(predict)
    what = "the SavedModel"
    wanted = signatures.methods(contract)
    run = _open(what, lambda: open_saved_model(folder), contract, tuple(wanted))
    found = _saved_methods(folder)
    _require(found == wanted, f"the methods of the SavedModel are {found}, expected {wanted}")
    _require_same(what, _predict(run, contract), itself, contract, golden)
    what = f"{signatures.example_signature(contract)} in {what}"
    _require_same(what, _predict_examples(run, contract), itself, contract, golden)
    if not litert:
        return
    content = (folder / LITERT_FILE).read_bytes()
    what = "the LiteRT file"
    run = _open(what, lambda: open_litert(content), contract, LITERT_SIGNATURES)
    model, edge = quantized or (itself, itself)
    _require_same(what, _predict(run, contract), model, contract, golden)
    content = (folder / EDGE_FILE).read_bytes()
    try:
        main, files = open_edge(content), packed_files(content)
    except (ValueError, RuntimeError, BadZipFile) as error:
        raise ExportError(f"{EDGE_FILE} cannot be read back: {error}") from error
    tensors = (
        [TensorInfo("float32", (1, *contract.encoded.shape))],
        [TensorInfo("float32", (1, contract.output_width))],
    )
    got = (main.inputs, main.outputs)
    _require(got == tensors, f"inputs and outputs of {EDGE_FILE} are {got}, expected {tensors}")
    _require(
        files == contract_files(contract), f"the files in {EDGE_FILE} are not those of the contract"
    )
    _require_same(EDGE_FILE, main.predictor, edge, contract, golden)


def _saved_methods(folder: Path) -> dict[str, str]:
    """Read the method of TensorFlow Serving that each signature of a SavedModel is for."""
    saved = SavedModel()
    try:
        saved.ParseFromString((folder / tf.saved_model.SAVED_MODEL_FILENAME_PB).read_bytes())
    except (OSError, ValueError, DecodeError) as error:
        raise ExportError(f"the SavedModel cannot be read back: {error}") from error
    (graph,) = saved.meta_graphs
    return {
        name: signature.method_name
        for name, signature in graph.signature_def.items()
        if not name.startswith(_INTERNAL)
    }


def verify_tensors(
    what: str,
    opener: Callable[[], tuple[Signatures, Run]],
    predict: Predict,
    contract: Contract,
    golden: Arrays,
) -> None:
    """Check a file of a model of named tensors, also that outputs do not depend on the batch.

    Raises:
        ExportError: the first difference, in a sentence.
    """
    run = _open(what, opener, contract)
    reference = predict({name: tf.constant(array) for name, array in golden.items()})
    total = len(next(iter(golden.values())))
    for size in (1, 3, total):
        outputs = run(PREDICT_SIGNATURE, {name: array[:size] for name, array in golden.items()})
        for name, output in reference.items():
            wanted, got = np.asarray(output)[:size], outputs[name]
            if got.shape != wanted.shape:
                raise ExportError(
                    f"for {size} of {total} samples {what} answers {name} of shape "
                    f"{[*got.shape]}, expected {[*wanted.shape]}"
                )
            if wanted.dtype.kind == "f":
                limit = TOLERANCE * max(1.0, float(np.abs(wanted).max(initial=0.0)))
                same = np.allclose(got, wanted, rtol=0, atol=limit)
            else:
                same = bool((got == wanted).all())
            if not same:
                raise ExportError(
                    f"for {size} of {total} samples {what} answers another {name} than the model "
                    "itself for all together"
                )


def _open(
    what: str,
    opener: Callable[[], tuple[Signatures, Run]],
    contract: Contract,
    names: tuple[str, ...] = (),
) -> Run:
    """Open a file and check its signatures and its contract.

    Without names, the model is one of named tensors, whose shapes are not checked.
    """
    try:
        found, run = opener()
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{what} cannot be read back: {error}") from error
    if names:
        wanted = signatures.expected(contract, names)
        difference = f"{what} has the signatures {sorted(found)}, not {[*wanted]}"
        _require(found.keys() == wanted.keys(), difference)
        for name, sides in wanted.items():
            for side, got, right in zip(("inputs", "outputs"), found[name], sides, strict=True):
                _require(got == right, f"{side} of {name} in {what} are {got}, expected {right}")
    else:
        inputs, outputs = map(sorted, found.get(PREDICT_SIGNATURE, ({}, {})))
        taken = sorted(signatures.input_spec(contract))
        answered = sorted([output.name for output in contract.outputs] or [contract.output])
        if (inputs, outputs) != (taken, answered):
            raise ExportError(
                f"{what} takes {inputs} and answers {outputs}, expected {taken} and {answered}"
            )
    query = np.ones(2, dtype=np.int32)
    answers = run(CONTRACT_SIGNATURE, {CONTRACT_INPUT: query})[CONTRACT_OUTPUT]
    document = contract.to_json().encode()
    same = answers.shape == (2,) and all(answer == document for answer in answers)
    _require(same, f"the contract that {what} answers is not the one that was written")
    return run


def _predict(run: Run, contract: Contract) -> Predictor:
    name, output = contract.encoded.name, contract.output
    return lambda batch: run(PREDICT_SIGNATURE, {name: batch})[output]


def _predict_examples(run: Run, contract: Contract) -> Predictor:
    signature, name = signatures.example_signature(contract), contract.encoded.name

    def serialize(tensor: NDArray[np.float32]) -> bytes:
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=tensor.ravel()))
        features = tf.train.Features(feature={name: feature})
        message: bytes = tf.train.Example(features=features).SerializeToString()
        return message

    def predictor(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        # Objects, as NumPy's strings lose trailing zeros.
        examples = np.array([serialize(tensor) for tensor in batch], dtype=object)
        outputs = run(signature, {signatures.EXAMPLES_INPUT: examples})
        if signature != signatures.CLASSIFY_SIGNATURE:
            return outputs[signatures.REGRESS_OUTPUT]
        labels = [label.encode() for label in contract.labels]
        right = outputs[signatures.CLASSES].tolist() == [labels] * len(batch)
        _require(right, f"the classes that {signature} answers are not the labels {[*labels]}")
        return outputs[signatures.SCORES]

    return predictor


def _require_same(
    what: str, predictor: Predictor, reference: Predictor, contract: Contract, golden: GoldenSamples
) -> None:
    tolerance = TOLERANCE
    if contract.statistics is not None and contract.statistics.target is not None:
        target = contract.statistics.target
        # Far from zero, float32 values differ by at least their last bits.
        largest = max(abs(target.minimum), abs(target.maximum))
        rounding = 8 * float(np.finfo(np.float32).eps) * largest
        tolerance = TOLERANCE * (target.std or 1.0) + rounding
    for size in sorted({1, min(3, len(golden.tensors)), len(golden.tensors)}):
        batch = golden.tensors[:size]
        wanted, got = reference(batch), predictor(batch)
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


def _require(right: bool, difference: str) -> None:
    if not right:
        raise ExportError(f"the export does not read back as it was meant: {difference}")
