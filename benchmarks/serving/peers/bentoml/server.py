"""BentoML with adaptive batching and a worker for each core.

Batches: https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html; what misses the
latency is answered 503, so it is generous.
Workers: https://docs.bentoml.com/en/latest/guides/workers.html
"""

from typing import Any

import bentoml
import numpy as np
from classifier import answers, from_environment
from PIL.Image import Image


@bentoml.service(workers=2, logging={"access": {"enabled": False}})
class Digits:
    """Images as files of a form, or arrays as JSON."""

    def __init__(self) -> None:
        self.model = from_environment()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict(self, images: list[Image]) -> list[dict[str, Any]]:
        """Answers for image files."""
        pixels = [np.asarray(image.convert("L"), np.float32) / np.float32(255) for image in images]
        return answers(self.model.predict(np.stack(pixels)[..., np.newaxis]))

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict_arrays(self, instances: np.ndarray) -> list[dict[str, Any]]:
        """Answers for arrays."""
        return answers(self.model.predict(instances.astype(np.float32)))
