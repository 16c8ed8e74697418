"""Model of Triton's Python backend; https://github.com/triton-inference-server/python_backend."""

import time
from typing import Any

import numpy as np
import triton_python_backend_utils as backend
from classifier import LABELS, decode, from_environment, joined, log_request, split


class TritonPythonModel:
    """Accepts PNGs in a BYTES tensor, or arrays in an FP32 tensor."""

    def initialize(self, args: dict[str, str]) -> None:  # noqa: ARG002
        """Load the model."""
        self.model = from_environment()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run several requests as one batch."""
        started = time.perf_counter()
        images = [self.images(request) for request in requests]
        responses = []
        for rows in split(self.model.predict(joined(images)), images):
            labels = np.array([LABELS[best] for best in rows.argmax(axis=1)], object)
            tensors = [
                backend.Tensor("label", labels[:, np.newaxis]),
                backend.Tensor("probabilities", rows),
            ]
            responses.append(backend.InferenceResponse(tensors))
            log_request(started)
        return responses

    def images(self, request: Any) -> Any:
        """The images of a request, float32 [n, 28, 28, 1]."""
        files = backend.get_input_tensor_by_name(request, "png")
        if files is None:
            return backend.get_input_tensor_by_name(request, "pixels").as_numpy()
        return np.stack([decode(png) for png in files.as_numpy()[:, 0]])
