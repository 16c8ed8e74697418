"""TFLite metadata: a description of a .tflite file for mobile apps, browsers and Netron.

It is a FlatBuffers document in the model's metadata, by the schema of TensorFlow Lite Support
(metadata_schema.fbs, file identifier M001), and files appended to the model as a ZIP archive, which
interpreters ignore. The Python packages that write it either lack wheels for supported Python
versions or depend on all of MediaPipe.
"""

import io
import zipfile
from typing import Any

import flatbuffers
import msgspec
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from rockstar_contract.contract import Contract, ImageInput

LABELS_FILE = "labels.txt"
CONTRACT_NAME = "contract.json"

_METADATA = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"
# Values of the schema's enumerations.
_FEATURE, _IMAGE = np.uint8(1), np.uint8(2)
_NORMALIZATION = np.uint8(1)
_RGB, _GRAY = np.int8(1), np.int8(2)
_DESCRIPTIONS, _AXIS_LABELS = np.int8(1), np.int8(2)

# A table of the schema is a tuple of its fields in order, None for missing ones. Fields are
# strings, tables, vectors of tables (lists), vectors of floats (arrays) and NumPy numbers.
_Value = Any


def with_metadata(content: bytes, contract: Contract) -> bytes:
    """Add metadata, labels.txt and contract.json to a .tflite file of one input and one output."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_document(contract), np.uint8)
    entry.name, entry.buffer = _METADATA, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    # Not compressed, as readers expect, and without timestamps.
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, text in contract_files(contract).items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return bytes(builder.Output()) + memory.getvalue()


def packed_files(content: bytes) -> dict[str, str]:
    """Return the texts in the archive at the end of a .tflite file, or raise BadZipFile."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def contract_files(contract: Contract) -> dict[str, str]:
    """Return the files to append: labels, one per line in the order of the output, and contract."""
    files = {CONTRACT_NAME: contract.to_json()}
    if not contract.labels:
        return files
    labels = "".join(f"{' '.join(label.splitlines())}\n" for label in contract.labels)
    return {LABELS_FILE: labels, **files}


def _document(contract: Contract) -> bytes:
    """Create the ModelMetadata table."""
    title = f"{contract.model} version {contract.version}, {contract.task}"
    scores = ", ".join(f"{name} {value:.4f}" for name, value in contract.metrics.items())
    about = f"Trained on {contract.data_set.name}: {scores}" if contract.data_set else ""
    files = [(CONTRACT_NAME, "What the model takes and answers, as JSON.", _DESCRIPTIONS)]
    graph = (None, None, [_input(contract)], [_output(contract)])
    builder = flatbuffers.Builder(4096)
    root = (title, about, str(contract.version), [graph], contract.producer, None, files, _PARSER)
    builder.Finish(_written(builder, root), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _input(contract: Contract) -> _Value:
    """Create the TensorMetadata table of the input: kind, size, normalization and limits."""
    spec = contract.encoded
    shape = ", ".join(map(str, spec.shape))
    if not isinstance(spec, ImageInput):
        about = f"float32 [1, {shape}], computed from a row as {CONTRACT_NAME} describes"
        return (spec.name, about, None, (_FEATURE, ()))
    height, width, channels = spec.shape
    low, high = spec.range
    steps = "; ".join(
        " ".join(str(part) for part in msgspec.to_builtins(step).values())
        for step in spec.preprocessing
    )
    about = (
        f"float32 [1, {shape}] in {low:g} to {high:g}, made of the pixels by these steps: {steps} "
        f"({CONTRACT_NAME} has them as JSON)"
    )
    # (value - mean) / std maps 0…255 to the model's range.
    std = 255 / (high - low)
    options = (_floats((0 - low) * std), _floats(std))
    image = (_GRAY if channels == 1 else _RGB, (np.uint32(width), np.uint32(height)))
    limits = (_floats(high), _floats(low))
    return (spec.name, about, None, (_IMAGE, image), [(_NORMALIZATION, options)], limits)


def _output(contract: Contract) -> _Value:
    """Create the TensorMetadata table of the output: probabilities of labels, or a number."""
    if not contract.labels:
        target = f"The predicted {contract.target}."
        return (contract.output, target, None, (_FEATURE, ()))
    labels = (LABELS_FILE, "A label a line, in the order of the output.", _AXIS_LABELS)
    limits = (_floats(1), _floats(0))
    about = "The probability of each label."
    return (contract.output, about, None, (_FEATURE, ()), None, limits, [labels])


def _floats(*values: float) -> _Value:
    return np.array(values, np.float32)


def _written(builder: Any, value: _Value) -> int:
    """Write a string, vector or table; return its offset."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, list):
        offsets = [_written(builder, each) for each in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    # Referenced values must be written before the table.
    fields = [
        field if field is None or isinstance(field, np.generic) else _written(builder, field)
        for field in value
    ]
    numbers = {
        np.uint32: builder.PrependUint32Slot,
        np.uint8: builder.PrependUint8Slot,
        np.int8: builder.PrependInt8Slot,
    }
    builder.StartObject(len(fields))
    for slot, field in enumerate(fields):
        if field is not None:
            numbers.get(type(field), builder.PrependUOffsetTRelativeSlot)(slot, int(field), 0)
    return int(builder.EndObject())
