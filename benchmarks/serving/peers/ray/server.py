"""Ray Serve with dynamic batching, two replicas and its flags for throughput.

Batches: https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html
Flags (RAY_SERVE_THROUGHPUT_OPTIMIZED=1, set by the benchmark) and max_ongoing_requests:
https://docs.ray.io/en/latest/serve/advanced-guides/performance.html
"""

import os
import signal
from typing import Any

import numpy as np
import ray
from classifier import decode, from_environment, joined, predictions, split
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request

Floats = NDArray[np.float32]


@serve.deployment(num_replicas=2, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Digits:
    """Accepts a PNG as the body, PNGs as files of a form, or arrays as JSON."""

    def __init__(self) -> None:
        self.model = from_environment()

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def run(self, requests: list[Floats]) -> list[Any]:
        """Run several requests as one batch."""
        return split(predictions(self.model.predict(joined(requests))), requests)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Handle a request."""
        mimetype = request.headers["content-type"].partition(";")[0]
        if mimetype == "image/png":
            images = decode(await request.body())[np.newaxis]
        elif mimetype == "application/json":
            images = np.asarray((await request.json())["instances"], np.float32)
        else:
            files = (await request.form()).getlist("images")
            images = np.stack([decode(await file.read()) for file in files])
        return {"predictions": await self.run(images)}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["BENCHMARK_PORT"])})
    serve.run(Digits.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
