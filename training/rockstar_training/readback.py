"""Reading an export back before it is published: all files must promise and answer the same.

Signatures, contract, and the outputs for golden samples are compared between the exported function,
the SavedModel, by tensor and by tf.Example, and the LiteRT files.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
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
from rockstar_contract.inputs import prepare
from rockstar_contract.version_folders import EDGE_FILE
from rockstar_training import signatures
from rockstar_training.errors import ExportError
from rockstar_training.evaluation import Predictor
from rockstar_training.prepared_data import GoldenSamples
from rockstar_training.signatures import LITERT_SIGNATURES, Predict, Signatures, TensorInfo
from rockstar_training.tensorflow_setup import SavedModel, tf
from rockstar_training.tflite_metadata import contract_files, packed_files

LITERT_FILE = "model.tflite"
# Largest difference of probabilities; of other outputs, as a share of the largest value, or of the
# target's standard deviation if that is known.
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
    variables that a session does not restore. Raises OSError, ValueError or RuntimeError.
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
    run, name, output = open_litert(content)[1], contract.encoded.name, contract.output
    return lambda batch: run(PREDICT_SIGNATURE, {name: batch})[output]


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
    folder: Path, predict: Predict, contract: Contract, golden: GoldenSamples | Arrays
) -> None:
    """Check the contract and the SavedModel of a version against the exported function.

    The first difference is an ExportError.
    """
    same = (folder / CONTRACT_FILE).read_text("utf-8") == contract.to_json()
    _require(same, f"{CONTRACT_FILE} differs")
    samples = golden if isinstance(golden, dict) else {contract.encoded.name: golden.tensors}
    if isinstance(golden, GoldenSamples):
        for number, (raw, tensor) in enumerate(zip(golden.raw, golden.tensors, strict=True)):
            same = np.array_equal(prepare(raw, contract.input, field="a golden sample"), tensor)
            what = f"golden sample {number}, as a user sends it,"
            _require(same, f"{what} becomes another tensor than in training")
    what, wanted = "the SavedModel", signatures.methods(contract)
    run = _open(what, lambda: open_saved_model(folder), contract, tuple(wanted))
    found = _saved_methods(folder)
    _require(found == wanted, f"the methods of the SavedModel are {found}, expected {wanted}")
    reference = _reference(predict, contract, samples)
    _require_same(what, partial(run, PREDICT_SIGNATURE), reference, contract, samples)
    for name in wanted.keys() - set(LITERT_SIGNATURES):
        by_example = partial(_run_examples, run, name, contract)
        _require_same(f"{name} in {what}", by_example, reference, contract, samples)


def verify_litert(
    folder: Path,
    predict: Predict,
    contract: Contract,
    samples: Arrays,
    quantized: tuple[Predictor, Predictor] | None = None,
) -> None:
    """Check the LiteRT files of a version against the exported function, on samples by input name.

    If they are quantized, model.tflite and edge.tflite are checked against these predictors. The
    first difference is an ExportError.
    """
    content = (folder / LITERT_FILE).read_bytes()
    what = "the LiteRT file"
    run = _open(what, lambda: open_litert(content), contract, LITERT_SIGNATURES)
    reference = [_reference(predict, contract, samples)] * 2
    if quantized is not None:
        (tensors,) = samples.values()
        reference = [{contract.output: predictor(tensors)} for predictor in quantized]
    _require_same(what, partial(run, PREDICT_SIGNATURE), reference[0], contract, samples)
    if isinstance(contract.input, TensorInput):
        return
    content = (folder / EDGE_FILE).read_bytes()
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
    same = files == contract_files(contract)
    _require(same, f"the files in {EDGE_FILE} are not those of the contract")

    def run_edge(inputs: Arrays) -> Arrays:
        return {contract.output: edge.predictor(inputs[contract.encoded.name])}

    _require_same(EDGE_FILE, run_edge, reference[1], contract, samples)


def _reference(predict: Predict, contract: Contract, samples: Arrays) -> Arrays:
    """Return the outputs of the exported function for all samples at once."""
    tensors = {name: tf.constant(array) for name, array in samples.items()}
    if isinstance(contract.input, TensorInput):
        return {name: np.asarray(output) for name, output in predict(tensors).items()}
    return {contract.output: np.asarray(predict(*tensors.values()))}


def _saved_methods(folder: Path) -> dict[str, str]:
    """Read the method of TensorFlow Serving that each signature of a SavedModel is for."""
    path = folder / tf.saved_model.SAVED_MODEL_FILENAME_PB
    (graph,) = SavedModel.FromString(path.read_bytes()).meta_graphs
    return {
        name: signature.method_name
        for name, signature in graph.signature_def.items()
        if not name.startswith(_INTERNAL)
    }


def _open(
    what: str,
    opener: Callable[[], tuple[Signatures, Run]],
    contract: Contract,
    names: tuple[str, ...],
) -> Run:
    """Open a file and check its signatures and its contract; of named tensors not their shapes."""
    try:
        found, run = opener()
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{what} cannot be read back: {error}") from error
    _require(
        found.keys() == set(names), f"{what} has the signatures {sorted(found)}, not {[*names]}"
    )
    if isinstance(contract.input, TensorInput):
        inputs, outputs = map(sorted, found[PREDICT_SIGNATURE])
        taken = sorted(signatures.input_spec(contract))
        answered = sorted([output.name for output in contract.outputs] or [contract.output])
        _require(
            (inputs, outputs) == (taken, answered),
            f"{what} takes {inputs} and answers {outputs}, expected {taken} and {answered}",
        )
    else:
        for name, sides in signatures.expected(contract, names).items():
            for side, got, right in zip(("inputs", "outputs"), found[name], sides, strict=True):
                _require(got == right, f"{side} of {name} in {what} are {got}, expected {right}")
    query = np.ones(2, dtype=np.int32)
    answers = run(CONTRACT_SIGNATURE, {CONTRACT_INPUT: query})[CONTRACT_OUTPUT]
    document = contract.to_json().encode()
    same = answers.shape == (2,) and all(answer == document for answer in answers)
    _require(same, f"the contract that {what} answers is not the one that was written")
    return run


def _run_examples(run: Run, signature: str, contract: Contract, inputs: Arrays) -> Arrays:
    """Send the inputs as tf.Examples; return the output by the name it has in serving_default."""

    def serialize(tensor: NDArray[np.float32]) -> bytes:
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=tensor.ravel()))
        features = tf.train.Features(feature={contract.encoded.name: feature})
        message: bytes = tf.train.Example(features=features).SerializeToString()
        return message

    (tensors,) = inputs.values()
    # Objects, as NumPy's strings lose trailing zeros.
    examples = np.array([serialize(tensor) for tensor in tensors], dtype=object)
    outputs = run(signature, {signatures.EXAMPLES_INPUT: examples})
    if signature != signatures.CLASSIFY_SIGNATURE:
        return {contract.output: outputs[signatures.REGRESS_OUTPUT]}
    labels = [label.encode() for label in contract.labels]
    right = outputs[signatures.CLASSES].tolist() == [labels] * len(tensors)
    _require(right, f"the classes that {signature} answers are not the labels {[*labels]}")
    return {contract.output: outputs[signatures.SCORES]}


def _require_same(
    what: str,
    answer: Callable[[Arrays], Arrays],
    reference: Arrays,
    contract: Contract,
    samples: Arrays,
) -> None:
    """Compare outputs with those of the model for all samples, also in smaller batches."""
    count = len(next(iter(samples.values())))
    statistics = contract.statistics
    for size in sorted({1, min(3, count), count}):
        outputs = answer({name: array[:size] for name, array in samples.items()})
        for name, output in reference.items():
            wanted, got, shape = output[:size], outputs[name], (size, *output.shape[1:])
            _require(
                got.shape == wanted.shape == shape,
                f"for {size} examples {what} answers {got.shape} and the model itself "
                f"{wanted.shape}, expected {shape}",
            )
            if wanted.dtype.kind != "f":
                same = bool((got == wanted).all())
                _require(same, f"{what} answers another {name} than the model for {size} examples")
                continue
            finite = bool(np.isfinite(wanted).all() and np.isfinite(got).all())
            _require(
                finite, f"{what} or the model itself answers NaN or infinity for {size} examples"
            )
            tolerance = TOLERANCE * max(1.0, float(np.abs(wanted).max(initial=0.0)))
            if statistics is not None and (target := statistics.target) is not None:
                # Far from zero, float32 values differ by at least their last bits.
                largest = max(abs(target.minimum), abs(target.maximum))
                rounding = 8 * float(np.finfo(np.float32).eps) * largest
                tolerance = TOLERANCE * (target.std or 1.0) + rounding
            difference = float(np.abs(got - wanted).max(initial=0.0))
            _require(
                difference <= tolerance,
                f"{what} answers differ from the model's own by {difference:.2g} for {size} "
                "examples",
            )


def _require(right: bool, difference: str) -> None:
    if not right:
        raise ExportError(f"the export does not read back as it was meant: {difference}")
