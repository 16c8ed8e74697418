"""Ours as `rockstar serve` starts it: the gateway in front of the embedded model server."""

import json
from collections.abc import Mapping, Sequence

from benchmarks.serving.system import Image, Kind, Request, Run, System, plain_request


class Rockstar(System):
    """All ten labels are asked for, as the others answer them."""

    name = "rockstar"
    title = "RockstarTF"
    role = "ours"
    settings = "`rockstar serve` with its defaults: 2 gateway workers, the embedded model server"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [
            *(str(run.python.with_name("rockstar")), "serve", f"--models={run.models}"),
            *(f"--model={run.model}", f"--port={run.port}", "--grpc-port=0", "--rest-port=0"),
            f"--workers={run.workers}",
        ]

    def variables(self, run: Run) -> Mapping[str, str]:
        """See System."""
        del run
        return {}

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """See System."""
        return plain_request(f"/predict/{run.model}?top=10", kind, images)

    def labels(self, body: bytes) -> list[str]:
        """See System."""
        return [prediction["label"] for prediction in json.loads(body)["predictions"]]
