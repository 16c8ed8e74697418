"""MLServer, over the v2 inference protocol."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.serving.system import (
    SHAPE,
    Image,
    Kind,
    Request,
    Run,
    System,
    base64_text,
    peer_variables,
)

PATH = "/v2/models/digits/infer"


class MLServer(System):
    """Images go as base64 in a BYTES tensor, arrays as FP32."""

    name = "mlserver"
    title = "MLServer"
    role = "framework"
    settings = "2 parallel workers, batches of up to 16, waiting at most 2 ms, metrics off"
    peer = "mlserver"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [str(run.python.with_name("mlserver")), "start", "."]

    def variables(self, run: Run) -> Mapping[str, str]:
        """See System."""
        grpc, metrics = run.spare_ports
        ports = {
            "MLSERVER_HTTP_PORT": str(run.port),
            "MLSERVER_GRPC_PORT": str(grpc),
            "MLSERVER_METRICS_PORT": str(metrics),
            # Where the metrics of its processes would lie, even though they are off.
            "MLSERVER_METRICS_DIR": str(run.folder),
            "MLSERVER__CUSTOM_PROMETHEUS_MULTIPROC_DIR": str(run.folder),
        }
        return {**peer_variables(run), **ports}

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """See System."""
        del run
        tensor: dict[str, Any] = {"name": "image"}
        if kind == "json":
            tensor |= {
                "shape": [len(images), *SHAPE],
                "datatype": "FP32",
                # Flat, which it reads faster than nested lists.
                "data": np.ravel([image.pixels for image in images]).tolist(),
            }
        else:
            tensor |= {
                "shape": [len(images), 1],
                "datatype": "BYTES",
                "parameters": {"content_type": "base64"},
                "data": [base64_text(image) for image in images],
            }
        body = json.dumps({"inputs": [tensor]}).encode()
        return Request(PATH, "application/json", body, len(images))

    def labels(self, body: bytes) -> list[str]:
        """See System."""
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return list(outputs["label"])
