"""BentoML."""

import json
from collections.abc import Mapping, Sequence

from benchmarks.serving.system import (
    Image,
    Kind,
    Request,
    Run,
    System,
    form_request,
    json_request,
    peer_variables,
)


class BentoML(System):
    """Images go as a form's files."""

    name = "bentoml"
    title = "BentoML"
    role = "framework"
    settings = "2 workers, adaptive batching up to 32 within 1 s, no access log"
    peer = "bentoml"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [
            *(str(run.python), "-m", "bentoml", "serve", "server:Digits"),
            *("--host=127.0.0.1", f"--port={run.port}"),
        ]

    def variables(self, run: Run) -> Mapping[str, str]:
        """See System."""
        home = {"BENTOML_HOME": str(run.folder), "BENTOML_DO_NOT_TRACK": "True"}
        return {**peer_variables(run), **home}

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """See System."""
        del run
        if kind == "json":
            return json_request("/predict_arrays", images)
        return form_request("/predict", images)

    def labels(self, body: bytes) -> list[str]:
        """See System."""
        return [prediction["label"] for prediction in json.loads(body)]
