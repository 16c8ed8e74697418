"""mosec with dynamic batching and a worker for each core.

Batches and workers: https://mosecorg.github.io/mosec/reference/interface.html#mosec.server.Server.append_worker
The documentation suggests to find the wait by trying; 1 ms is the shortest possible.
"""

import time

from classifier import (
    Floats,
    decode_body,
    encode_predictions,
    from_environment,
    joined,
    log_request,
    split,
)
from mosec import Server, Worker


class Digits(Worker):
    """Accepts a PNG as the body, or PNGs as base64 or arrays in JSON."""

    def __init__(self) -> None:
        """Load the model."""
        self.model = from_environment()

    def deserialize(self, data: bytes) -> Floats:
        """Decode a request to float32 [n, 28, 28, 1]."""
        return decode_body(data)

    def forward(self, data: list[Floats]) -> list[Floats]:
        """Run several requests as one batch."""
        self.started = time.perf_counter()
        return split(self.model.predict(joined(data)), data)

    def serialize(self, data: Floats) -> bytes:
        """Encode a response."""
        log_request(self.started)
        return encode_predictions(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Digits, num=2, max_batch_size=32, max_wait_time=1, route="/predict")
    server.run()
