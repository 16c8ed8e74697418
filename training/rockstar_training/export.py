"""Export: a SavedModel and LiteRT files with equal outputs and a contract, as one version.

Layout of a version:

    models/cnn/3/saved_model.pb, variables/    all signatures, for TensorFlow Serving
    models/cnn/3/model.tflite                  serving_default and contract, without TensorFlow
    models/cnn/3/edge.tflite                   prediction of one example, for any LiteRT interpreter
    models/cnn/3/assets.extra/contract.json    the contract, for people and tools
    models/cnn/3/assets.extra/tf_serving_warmup_requests    replayed before the first request
    models/cnn/3/assets.extra/neighbors.npz    some training images, of public data sets only
    models/cnn/3/manifest.json                 size and SHA-256 of every other file

A version is written to a temporary folder, whose name no server loads, flushed to disk, and then
renamed, so a folder with a number is always complete. A version that must not be served is renamed
to `held-3`. A lock per model serializes publishers, so the number is known during the export.

LiteRT files can be quantized:

    mode      weights    activations          input and output    size
    dynamic   int8       float32              float32             a quarter
    float16   float16    float32              float32             half
    int8      int8       int8, calibrated     float32             a quarter

Calibration takes the ranges of activations from training examples. Operations without an int8
kernel stay in float32. The outputs of a quantized model differ too much from the original ones for
a tolerance to detect errors. So it is checked twice: its score on held-out examples may fall by 0.3
points, and the published files must answer like those that were scored.

Warmup requests are Predict requests only: a server that prefers the LiteRT file has no `classify`
or `regress` signature, and a failing warmup request prevents a version from loading.
"""

import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract import version_folders
from rockstar_contract.activations import NEIGHBORS_FILE, find_neighbors
from rockstar_contract.contract import (
    CONTRACT_FILE,
    CONTRACT_INPUT,
    CONTRACT_SIGNATURE,
    PREDICT_SIGNATURE,
    Contract,
    ImageInput,
)
from rockstar_contract.manifest import write_manifest
from rockstar_contract.version_folders import EDGE_FILE, HELD_PREFIX
from rockstar_training import readback, signatures, tensorflow_setup
from rockstar_training.config import CHOICES
from rockstar_training.errors import ExportError
from rockstar_training.evaluation import Predictor, accuracy, predict_part, regression_metrics
from rockstar_training.prepared_data import (
    CorrectedExamples,
    GoldenSamples,
    MemoryExamples,
    PreparedData,
)
from rockstar_training.readback import LITERT_FILE, Arrays
from rockstar_training.signatures import LITERT_SIGNATURES, Predict
from rockstar_training.tensorflow_setup import quiet_native_log, tf
from rockstar_training.tflite_metadata import with_metadata

# Servers read names as numbers: leading zeros do not make another version.
_VERSION = re.compile(r"[0-9]+")
_LAST_VERSION = 2**63 - 1
# Where TensorFlow Serving looks for warmup requests.
WARMUP_FILE = PurePosixPath("assets.extra/tf_serving_warmup_requests")
# Each batch size needs buffers and kernels that its first request prepares.
_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# Size limit of all warmup batches together, for large images; the first one is always written.
_MAX_WARMUP_BYTES = 8 * 2**20
# How much a quantized model's score may fall; in binary, 0.9 - 0.897 is more than 0.003.
_MAX_LOSS, _ROUNDING = 0.003, 1e-9
_CALIBRATION_EXAMPLES = 200

# Returns texts by their path in the version's folder, given the contract with the final version.
Documents = Callable[[Contract], Mapping[PurePath, str]]


@dataclass(frozen=True)
class Exported:
    """A published version."""

    folder: Path
    contract: Contract
    problem: str  # why it has no LiteRT files; "" if it has them
    notes: tuple[str, ...] = ()  # sentences about assumptions and omissions of an import


@dataclass(frozen=True, eq=False)
class Quantization:
    """How a model is quantized and scored."""

    mode: str  # "dynamic", "float16" or "int8"
    # The metric of the contract that the quantized model is compared by, such as "test_accuracy"; 1
    # is the best value.
    metric: str
    score: Callable[[Predictor], float]  # computes the metric on the same held-out examples
    examples: NDArray[np.float32]  # [n, *shape of one example], training examples for calibration


def export(
    predict: Predict,
    trackables: Sequence[Any],
    draft: Contract,
    golden: GoldenSamples | Arrays,
    models: Path,
    *,
    quantization: Quantization | None = None,
    documents: Documents | None = None,
    neighbors: Callable[[bytes], bytes] | None = None,
    held: bool = False,
    litert_required: bool = True,
) -> Exported:
    """Write a model, read it back, and publish it as the next version.

    A model of named tensors has no edge.tflite and no signatures for tf.Examples.

    Args:
        predict: the model, in TensorFlow operations; takes any number of examples.
        trackables: objects that own the model's variables: tf.Variables or tf.Modules. Not Keras
            models: copies of their variables would be saved, which no function reads.
        draft: the contract; its version is replaced by the published one.
        golden: samples as clients send them, and their preprocessed tensors; for a model of named
            tensors, arrays [n, …] by name.
        models: the parent of the folders of models.
        quantization: quantizes the LiteRT files and adds their score to the contract's metrics.
        documents: more texts of the version, such as PurePath("assets.extra/model_card.md").
        neighbors: returns neighbors.npz, given edge.tflite: training images that the page shows as
            similar to a user's; None for data that may be private.
        held: whether it is published but not served.
        litert_required: whether a model that LiteRT cannot run is an error. If not, it is published
            without LiteRT files, and only TensorFlow runs it.

    Raises:
        ExportError: it cannot be written or converted, does not read back the same, or loses too
            much by quantization; nothing was published.
    """
    try:
        with publication(models / draft.model, held=held) as incoming, quiet_native_log():
            contract = msgspec.structs.replace(draft, version=incoming.version)
            folder, problem, edge, quantized = incoming.folder, "", b"", None
            if quantization is not None:
                edge = _litert(folder, predict, contract, (PREDICT_SIGNATURE,), quantization, 1)
                # Only for scoring: the final file contains the contract, which has the score.
                model = _litert(folder, predict, contract, LITERT_SIGNATURES, quantization)
                small = readback.open_edge(edge).predictor
                quantized = readback.litert_predictor(model, contract), small
                contract = score_quantized(contract, quantization, quantized)
            _save(folder, predict, trackables, contract, tuple(signatures.methods(contract)))
            signatures.name_methods(folder, contract)
            texts = {
                CONTRACT_FILE: contract.to_json(),
                **(documents(contract) if documents else {}),
            }
            for path, text in texts.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text, encoding="utf-8")
            samples = (
                golden if isinstance(golden, dict) else {contract.encoded.name: golden.tensors}
            )
            write_warmup(folder, contract, samples)
            readback.verify(folder, predict, contract, golden)
            try:
                model = _litert(folder, predict, contract, LITERT_SIGNATURES, quantization)
                (folder / LITERT_FILE).write_bytes(model)
                if isinstance(golden, GoldenSamples):
                    edge = edge or _litert(folder, predict, contract, (PREDICT_SIGNATURE,), batch=1)
                    (folder / EDGE_FILE).write_bytes(with_metadata(edge, contract))
                    if neighbors is not None:
                        (folder / NEIGHBORS_FILE).write_bytes(neighbors(edge))
                readback.verify_litert(folder, predict, contract, samples, quantized)
            except Exception as error:  # freezing, converting and running raise anything
                if litert_required or isinstance(error, OSError):
                    raise
                problem = " ".join(str(error).split()) or type(error).__name__
                for name in (LITERT_FILE, EDGE_FILE):
                    (folder / name).unlink(missing_ok=True)
    except (tf.errors.OpError, tensorflow_setup.ConverterError) as error:
        raise ExportError(f"TensorFlow cannot export {draft.model}: {error}") from error
    return Exported(incoming.target, contract, problem)


def _save(
    folder: Path,
    predict: Predict,
    trackables: Sequence[Any],
    contract: Contract,
    names: tuple[str, ...],
    batch: int | None = None,
) -> None:
    """Write a SavedModel with some signatures."""
    module = tf.Module()
    module.trackables = list(trackables)
    found = signatures.functions(predict, contract, names, batch)
    # Exports are not trained, and custom gradients, such as those of swish in EfficientNet, cannot
    # be saved.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=found, options=options)


def _litert(
    folder: Path,
    predict: Predict,
    contract: Contract,
    names: tuple[str, ...],
    quantization: Quantization | None = None,
    batch: int | None = None,
) -> bytes:
    """Convert some signatures to a LiteRT file, for `batch` examples or for any number."""
    # Within the version's folder, whose disk usually has enough room, and which is removed with the
    # leftovers of a killed publisher.
    frozen = folder / "frozen"
    try:
        _save(frozen, _frozen(predict, contract, batch), (), contract, names, batch)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(frozen), signature_keys=[*names])
        if quantization is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if quantization.mode == "float16":
                converter.target_spec.supported_types = [tf.float16]
            elif quantization.mode == "int8":
                name = contract.encoded.name
                converter.representative_dataset = lambda: (
                    (PREDICT_SIGNATURE, {name: example[np.newaxis]})
                    for example in quantization.examples
                )
        with warnings.catch_warnings():
            # Calibration uses an interpreter that TensorFlow itself deprecates.
            warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter")
            content: bytes = converter.convert()
    finally:
        shutil.rmtree(frozen, ignore_errors=True)
    return content


def _frozen(predict: Predict, contract: Contract, batch: int | None = None) -> Predict:
    """Replace the model's variables by constants.

    The converter (TensorFlow 2.20) leaves variables of Keras 3 uninitialized and then answers NaN.
    """
    spec = signatures.input_spec(contract, batch)
    concrete = tf.function(predict, input_signature=[spec]).get_concrete_function()
    constant = tensorflow_setup.freeze(concrete)

    def call(inputs: Any) -> Any:
        outputs = tf.nest.flatten(constant(*tf.nest.flatten(inputs)))
        return tf.nest.pack_sequence_as(concrete.structured_outputs, outputs)

    return call


def neighbors_of(data: PreparedData) -> Callable[[bytes], bytes] | None:
    """Return a function from edge.tflite to neighbors.npz, for images of a public data set only.

    Users' own images are never copied into a version.
    """
    if isinstance(data.tensors, CorrectedExamples):
        places, count = data.split.train, data.tensors.count
        split = replace(data.split, train=places[places < count])
        data = replace(data, tensors=data.tensors.known, split=split)
    train, spec = data.train, data.input
    if not isinstance(spec, ImageInput) or not isinstance(data.tensors, MemoryExamples):
        return None
    return lambda edge: find_neighbors(edge, train.tensors, train.targets, spec.range).to_bytes()


def quantization_for(data: PreparedData, mode: str) -> Quantization | None:
    """Return how to quantize a model of this data, scored by held-out accuracy or R²."""
    if mode == "none":
        return None
    train, regression = data.train, data.task == "regression"
    chosen = np.linspace(0, train.count - 1, min(_CALIBRATION_EXAMPLES, train.count))
    examples = train.tensors(chosen.astype(np.int64))

    def score(predictor: Predictor) -> float:
        outputs, truth = predict_part(predictor, data.test), data.test.targets
        if regression:
            return regression_metrics(outputs, truth).get("test_r2", float("nan"))
        return accuracy(outputs, truth)

    return Quantization(mode, "test_r2" if regression else "test_accuracy", score, examples)


def score_quantized(
    draft: Contract, quantization: Quantization, quantized: Sequence[Predictor]
) -> Contract:
    """Score the quantized files; return the contract with the score of the worst one.

    A score that falls by more than 0.3 points is an ExportError.
    """
    metric, mode = quantization.metric, quantization.mode
    before = draft.metrics[metric]
    # np.min returns NaN if any value is NaN; min may not.
    after = float(np.min([quantization.score(predictor) for predictor in quantized]))
    # Written so that NaN is rejected, too.
    if not before - after <= _MAX_LOSS + _ROUNDING:
        others = " or ".join(each for each in CHOICES["quantize"] if each not in (mode, "none"))
        raise ExportError(
            f"{draft.model} loses too much when it is quantized to {mode}: {metric} falls from "
            f"{before:.4f} to {after:.4f}, by {100 * (before - after):.2f} points, and at most "
            f"{100 * _MAX_LOSS:.1f} are accepted; try --quantize {others}, or leave it out"
        )
    return msgspec.structs.replace(draft, metrics={**draft.metrics, f"quantized_{metric}": after})


def write_warmup(folder: Path, contract: Contract, samples: Mapping[str, NDArray[Any]]) -> None:
    """Write the warmup requests of a version, from samples [n, …] by the names of the inputs."""
    count = len(next(iter(samples.values())))
    example = max(1, sum(array[:1].nbytes for array in samples.values()))
    requests: list[tuple[str, Mapping[str, NDArray[Any]]]] = []
    total = 0
    for size in _BATCH_SIZES:
        total += size
        if size <= count and (not requests or total * example <= _MAX_WARMUP_BYTES):
            batch = {name: array[:size] for name, array in samples.items()}
            requests.append((PREDICT_SIGNATURE, batch))
    requests.append((CONTRACT_SIGNATURE, {CONTRACT_INPUT: np.zeros(1, dtype=np.int32)}))
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for signature, inputs in requests:
            request = tensorflow_setup.PredictRequest()
            request.model_spec.name = contract.model
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = tensorflow_setup.PredictLog(request=request)
            record = tensorflow_setup.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


@dataclass(frozen=True)
class Incoming:
    """A version that is being written."""

    folder: Path  # empty, to be filled
    version: int
    target: Path  # the folder that it will be renamed to


@contextmanager
def publication(model_folder: Path, *, held: bool = False) -> Iterator[Incoming]:
    """Publish the files that the body writes as the next version, unless it raises.

    Other publishers of this model wait until the body ends. A held version is not served until
    `rockstar promote`. Raises an ExportError if the disk is full, for example.
    """
    try:
        with version_folders.incoming(model_folder) as folder:
            removed = version_folders.last_removed(model_folder)
            version = max([removed, *versions(model_folder)]) + 1
            if version > _LAST_VERSION:
                raise ExportError(
                    f"{model_folder} has version {_LAST_VERSION}, the last one there can be"
                )
            target = model_folder / (f"{HELD_PREFIX}{version}" if held else str(version))
            yield Incoming(folder, version, target)
            write_manifest(folder)
            try:
                version_folders.publish(folder, target)
            except FileExistsError as error:
                raise ExportError(
                    f"{target} appeared while it was being published: try again"
                ) from error
    except OSError as error:
        raise ExportError(f"cannot publish in {model_folder}: {error}") from error


def versions(model_folder: Path) -> list[int]:
    """List the version numbers that are taken in a model's folder, ascending."""
    served = {int(entry.name) for entry in model_folder.iterdir() if _VERSION.fullmatch(entry.name)}
    return sorted(served.union(version_folders.held_versions(model_folder)))
