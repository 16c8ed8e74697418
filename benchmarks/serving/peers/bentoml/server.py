"""BentoML with adaptive batching and a worker for each core.

Batches: https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html; the latency is
generous, because requests that exceed it get status 503.
Workers: https://docs.bentoml.com/en/latest/guides/workers.html
"""

from typing import Any

import bentoml
import numpy as np
from classifier import from_environment, predictions
from PIL.Image import Image


@bentoml.service(workers=2, logging={"access": {"enabled": False}})
class Digits:
    """Accepts images as files of a form, or arrays as JSON."""

    def __init__(self) -> None:
        self.model = from_environment()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict(self, images: list[Image]) -> list[dict[str, Any]]:
        """Predict image files."""
        pixels = [np.asarray(image.convert("L"), np.float32) / np.float32(255) for image in images]
        return predictions(self.model.predict(np.stack(pixels)[..., np.newaxis]))

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict_arrays(self, instances: np.ndarray) -> list[dict[str, Any]]:
        """Predict arrays."""
        return predictions(self.model.predict(instances.astype(np.float32)))
