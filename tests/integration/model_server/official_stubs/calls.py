"""Official requests that name a model."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.model_fixtures import SIDE

IMAGES = np.random.default_rng(3).random((2, SIDE, SIDE, 1), np.float32)


def spec_of(request: Any, name: str, version: int | None, label: str | None) -> Any:
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def predict_request(
    signature: str = "",
    *,
    name: str = "toy",
    version: int | None = None,
    label: str | None = None,
    fetches: tuple[str, ...] = (),
    **inputs: Any,
) -> Any:
    request = spec_of(predict_pb2.PredictRequest(), name, version, label)
    request.model_spec.signature_name = signature
    request.output_filter.extend(fetches)
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request
