"""LitServe with batching, and an inference worker and an API server for each core.

Batches: https://lightning.ai/docs/litserve/features/batching
Workers: https://lightning.ai/docs/litserve/api-reference/litserver
The documentation of `run` recommends `log_level="warning"` for production.
"""

import base64
import os
from typing import Any

import litserve
import numpy as np
from classifier import decode, from_environment, joined, predictions, split
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Digits(litserve.LitAPI):
    """Accepts images as base64 in JSON, as is usual for LitServe, or arrays."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model."""
        self.model = from_environment()

    def decode_request(self, request: dict[str, Any]) -> Floats:
        """Decode a request to float32 [n, 28, 28, 1]."""
        if "images" in request:
            return np.stack([decode(base64.b64decode(text)) for text in request["images"]])
        return np.asarray(request["instances"], np.float32)

    def batch(self, inputs: list[Floats]) -> list[Floats]:
        """Keep the requests of a batch separate."""
        return inputs

    def predict(self, x: list[Floats]) -> list[Any]:
        """Run them as one batch."""
        return split(predictions(self.model.predict(joined(x))), x)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Return the predictions, which are already separate."""
        return output

    def encode_response(self, output: list[Any]) -> dict[str, Any]:
        """Create the JSON document."""
        return {"predictions": output}


if __name__ == "__main__":
    api = Digits(max_batch_size=16, batch_timeout=0.002)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=2,
        fast_queue=bool(os.environ.get("LITSERVE_FAST_QUEUE")),
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["BENCHMARK_PORT"]),
        num_api_servers=2,
        log_level="warning",
        generate_client_file=False,
    )
