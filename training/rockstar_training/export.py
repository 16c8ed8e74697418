"""Export: a SavedModel and LiteRT files with equal outputs and a contract, as one version.

Layout of a version:

    models/cnn/3/saved_model.pb, variables/    all signatures, for TensorFlow Serving
    models/cnn/3/model.tflite                  serving_default and contract, without TensorFlow
    models/cnn/3/edge.tflite                   prediction of one example, for any LiteRT interpreter
    models/cnn/3/assets.extra/contract.json    the contract, for people and tools
    models/cnn/3/assets.extra/tf_serving_warmup_requests    replayed before the first request
    models/cnn/3/manifest.json                 size and SHA-256 of every other file

A version is written to a temporary folder, whose name no server loads, flushed to disk, and then
renamed: a folder with a number is always complete. A version that must not be served is renamed to
`held-3`. Publishers of one model take turns, so the number is known while the version is written.

Warmup requests are Predict requests only: a server that prefers the LiteRT file has no `classify`
or `regress` signature, and a failing warmup request keeps a version from loading.
"""

import fcntl
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import (
    CONTRACT_FILE,
    CONTRACT_INPUT,
    CONTRACT_SIGNATURE,
    PREDICT_SIGNATURE,
    Contract,
)
from rockstar_contract.manifest import write_manifest
from rockstar_contract.version_folders import HELD_PREFIX, held_versions, last_removed
from rockstar_training.errors import ExportError
from rockstar_training.loaders import open_edge
from rockstar_training.prepared import GoldenSamples
from rockstar_training.quantization import Quantization, Quantized, configure, judged, litert_answer
from rockstar_training.readback import EDGE_FILE, LITERT_FILE, verify
from rockstar_training.signatures import (
    LITERT_SIGNATURES,
    Predict,
    functions,
    methods,
    name_methods,
    tensor_spec,
)
from rockstar_training.tensorflow_setup import (
    ConverterError,
    PredictionLog,
    PredictLog,
    PredictRequest,
    freeze,
    quiet_native_log,
    tf,
)
from rockstar_training.tflite_metadata import with_metadata

_INCOMING = ".incoming-"
_LOCK = ".lock"
# As servers read names: leading zeros do not make another version.
_VERSION = re.compile(r"[0-9]+")
_LAST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Incoming:
    """A version in the making.

    Attributes:
        folder: empty, to be filled.
        version: what it will be published as.
        target: where it will then lie.
    """

    folder: Path
    version: int
    target: Path


@contextmanager
def publication(model_folder: Path, *, held: bool = False) -> Iterator[Incoming]:
    """Publish what the body writes as the next version, with its manifest; nothing if it raises.

    Args:
        model_folder: holds the versions of one model; made where there is none.
        held: whether it is not to be served, until `rockstar promote` does.

    Yields:
        The folder to fill. Other publishers of this model wait until the body is done.

    Raises:
        ExportError: the disk is full, the folder is not writable, and the like.
    """
    try:
        model_folder.mkdir(parents=True, exist_ok=True)
        with _turn(model_folder):
            _remove_leftovers(model_folder)
            incoming = _incoming(model_folder, held=held)
            try:
                yield incoming
                _reveal(incoming)
            except BaseException:
                shutil.rmtree(incoming.folder, ignore_errors=True)
                raise
    except OSError as error:
        raise ExportError(f"cannot publish in {model_folder}: {error}") from error


def versions(model_folder: Path) -> list[int]:
    """Numbers that are taken in a model's folder, ascending."""
    served = {int(entry.name) for entry in model_folder.iterdir() if _VERSION.fullmatch(entry.name)}
    return sorted(served.union(held_versions(model_folder)))


@contextmanager
def _turn(model_folder: Path) -> Iterator[None]:
    # The lock goes with the process that holds it, even when that is killed. The file stays: were
    # it removed, two publishers could hold locks on two files of the same name.
    with (model_folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_leftovers(model_folder: Path) -> None:
    """Remove what dead publishers left; a living one would hold the lock."""
    for leftover in model_folder.glob(f"{_INCOMING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _incoming(model_folder: Path, *, held: bool) -> Incoming:
    version = max([last_removed(model_folder), *versions(model_folder)]) + 1
    if version > _LAST_VERSION:
        raise ExportError(f"{model_folder} has version {_LAST_VERSION}, the last one there can be")
    # Not tempfile: its folders are closed to everyone else, such as the user a server runs as.
    folder = model_folder / f"{_INCOMING}{secrets.token_hex(8)}"
    folder.mkdir()
    name = f"{HELD_PREFIX}{version}" if held else str(version)
    return Incoming(folder, version, model_folder / name)


def _reveal(incoming: Incoming) -> None:
    write_manifest(incoming.folder)
    for path in incoming.folder.rglob("*"):
        _bring_to_disk(path)
    _bring_to_disk(incoming.folder)
    # A rename would silently replace an empty folder that someone made without taking turns.
    if incoming.target.exists():
        raise ExportError(f"{incoming.target} appeared while it was being published: try again")
    incoming.folder.rename(incoming.target)
    _bring_to_disk(incoming.target.parent)


def _bring_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Where TensorFlow Serving looks.
WARMUP_FILE = PurePosixPath("assets.extra/tf_serving_warmup_requests")
# Up to the number of samples: each size has buffers and kernels that the first request prepares.
_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# Of all batches together, so that large photographs do not make a version large; one always fits.
_MOST_BYTES = 8 * 2**20


def write_warmup(folder: Path, contract: Contract, samples: NDArray[np.float32]) -> None:
    """Write a version's warmup requests.

    Args:
        folder: of the version; has assets.extra/.
        contract: of the model.
        samples: preprocessed training examples, float32 [n, *shape of one example].
    """
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for request in _requests(contract, samples):
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString())


def write_requests(
    folder: Path, contract: Contract, batches: Iterable[Mapping[str, NDArray[Any]]]
) -> None:
    """Write the warmup requests of a version that takes tensors by name.

    Args:
        folder: of the version; has assets.extra/.
        contract: of the model.
        batches: arrays [n, …] by the names of its inputs.
    """
    query = {CONTRACT_INPUT: np.zeros(1, dtype=np.int32)}
    with tf.io.TFRecordWriter(str(folder / WARMUP_FILE)) as writer:
        for signature, inputs in [
            *((PREDICT_SIGNATURE, batch) for batch in batches),
            (CONTRACT_SIGNATURE, query),
        ]:
            request = PredictRequest()
            request.model_spec.name = contract.model
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = PredictionLog(predict_log=PredictLog(request=request))
            writer.write(log.SerializeToString())


def _requests(contract: Contract, samples: NDArray[np.float32]) -> Iterator[PredictRequest]:
    for size in _batch_sizes(samples):
        yield _request(contract, PREDICT_SIGNATURE, contract.encoded.name, samples[:size])
    yield _request(contract, CONTRACT_SIGNATURE, CONTRACT_INPUT, np.zeros(1, dtype=np.int32))


def _batch_sizes(samples: NDArray[np.float32]) -> list[int]:
    sizes = [size for size in _BATCH_SIZES if size <= len(samples)]
    room = _MOST_BYTES // samples[0].nbytes
    return [size for n, size in enumerate(sizes) if n == 0 or sum(sizes[: n + 1]) <= room]


def _request(
    contract: Contract, signature: str, name: str, value: NDArray[np.float32 | np.int32]
) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = contract.model
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


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
