"""Warmup files, written with TensorFlow and the official messages."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rockstar_contract.manifest import MANIFEST_FILE, write_manifest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2 as _log

PredictionLog = _log.PredictionLog
FILE = "assets.extra/tf_serving_warmup_requests"


def predict_log(
    inputs: dict[str, Any], signature: str = "", output_filter: Sequence[str] = ()
) -> bytes:
    """A record with a Predict request."""
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "named otherwise"
    request.model_spec.signature_name = signature
    request.output_filter.extend(output_filter)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    content: bytes = log.SerializeToString()
    return content


def examples_log(kind: str, signature: str, x: Sequence[float] = (1.0,)) -> bytes:
    """A `classify_log` or `regress_log` record with one tf.Example."""
    log = PredictionLog()
    request = getattr(log, kind).request
    request.model_spec.signature_name = signature
    return _with_example(log, request, x)


def multi_inference_log(*tasks: tuple[str, str], x: Sequence[float] = (1.0,)) -> bytes:
    """A record with one tf.Example for pairs of signature and method name."""
    log = PredictionLog()
    request = log.multi_inference_log.request
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "m"
        task.model_spec.signature_name = signature
    return _with_example(log, request, x)


def write_records(folder: Path, records: Sequence[bytes]) -> Path:
    """The warmup file of a version folder."""
    file = folder / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    if (folder / MANIFEST_FILE).exists():
        write_manifest(folder)
    return file


def _with_example(log: Any, request: Any, x: Sequence[float]) -> bytes:
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.extend(x)
    content: bytes = log.SerializeToString()
    return content
