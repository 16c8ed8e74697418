"""LitServe."""

import json
from collections.abc import Sequence

from benchmarks.serving.system import (
    Image,
    Kind,
    Request,
    Run,
    System,
    base64_text,
    json_request,
)


class LitServe(System):
    """Images go as base64 in JSON."""

    name = "litserve"
    title = "LitServe"
    role = "framework"
    settings = "2 inference workers, 2 API servers, batches of up to 16, waiting at most 2 ms"
    peer = "litserve"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [str(run.python), "server.py"]

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """See System."""
        del run
        if kind == "json":
            return json_request("/predict", images)
        body = json.dumps({"images": [base64_text(image) for image in images]}).encode()
        return Request("/predict", "application/json", body, len(images))
