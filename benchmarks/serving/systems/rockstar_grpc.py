"""Ours without the gateway: Predict of TensorFlow Serving's gRPC API."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.serving.system import Image, Kind, Request, Run, System
from tfs_api.services import PREDICT
from tfs_api.tensors import to_array, to_proto


class RockstarGrpc(System):
    """The caller decodes the image and names the label."""

    name = "rockstar-grpc"
    title = "RockstarTF, gRPC to the model server"
    role = "ours"
    settings = "`python -m rockstar_serving.model_server` with its defaults; tensors, not PNGs"
    kinds = ("png",)
    protocol = "grpc"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [
            *(str(run.python), "-m", "rockstar_serving.model_server", "--prefer_tflite_model=true"),
            *("--host=127.0.0.1", f"--port={run.port}", f"--model_name={run.model}"),
            f"--model_base_path={run.models / run.model}",
        ]

    def variables(self, run: Run) -> Mapping[str, str]:
        """See System."""
        del run
        return {}

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """See System; the body is one message with its gRPC frame."""
        del kind
        message = PREDICT.request()
        message.model_spec.name = run.model
        pixels = np.array([image.pixels for image in images], np.float32)
        message.inputs["image"].CopyFrom(to_proto(pixels, as_content=True))
        content = message.SerializeToString()
        frame = b"\x00" + len(content).to_bytes(4, "big") + content
        return Request(PREDICT.path, "application/grpc", frame, len(images))

    def labels(self, body: bytes) -> list[str]:
        """See System."""
        message = PREDICT.parse_response(body)
        return [str(best) for best in to_array(message.outputs["probabilities"]).argmax(axis=1)]
