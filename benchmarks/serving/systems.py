"""The measured systems."""

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
    form_request,
    json_request,
    peer_variables,
    plain_request,
)
from tfs_api.services import PREDICT
from tfs_api.tensors import to_array, to_proto


class Rockstar(System):
    """`rockstar serve`: the gateway with the embedded model server.

    Requests all ten labels, because the other systems return all.
    """

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

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """See System."""
        return plain_request(f"/predict/{run.model}?top=10", kind, images)


class RockstarGrpc(System):
    """The model server without the gateway: Predict of TensorFlow Serving's gRPC API.

    The client decodes the image and finds the label.
    """

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
        message = PREDICT.response.FromString(body)
        return [str(best) for best in to_array(message.outputs["probabilities"]).argmax(axis=1)]


class BentoML(System):
    """BentoML. Images are files of a form."""

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


class LitServe(System):
    """LitServe. Images are base64 in JSON."""

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


class MLServer(System):
    """MLServer with the V2 inference protocol. Images are base64 in a BYTES tensor, arrays FP32."""

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
            # Folders for metrics are required even with metrics off.
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
                # MLServer reads flat lists faster than nested ones.
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
        return Request("/v2/models/digits/infer", "application/json", body, len(images))

    def labels(self, body: bytes) -> list[str]:
        """See System."""
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return list(outputs["label"])


class RayServe(System):
    """Ray Serve. One image is the body; several are files of a form."""

    name = "ray"
    title = "Ray Serve"
    role = "framework"
    settings = (
        "2 replicas, batches of up to 16, waiting at most 2 ms, RAY_SERVE_THROUGHPUT_OPTIMIZED=1"
    )
    peer = "ray"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [str(run.python), "server.py"]

    def variables(self, run: Run) -> Mapping[str, str]:
        """See System."""
        flags = {
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(run.folder),
            # Otherwise it writes a token to the home folder; it listens on this machine only.
            "RAY_AUTH_MODE": "disabled",
        }
        return {**peer_variables(run), **flags}


class BareFastAPI(System):
    """FastAPI on uvicorn, which only decodes and runs the model."""

    name = "fastapi"
    title = "bare FastAPI"
    role = "bare"
    settings = "uvicorn with uvloop and httptools, 2 workers, async handler, orjson, no access log"
    peer = "fastapi"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return [
            *(str(run.python), "-m", "uvicorn", "--factory", "server:create_app"),
            *("--host=127.0.0.1", f"--port={run.port}", f"--workers={run.workers}"),
            *("--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning"),
        ]


class BareFlask(System):
    """Flask on gunicorn, which only decodes and runs the model."""

    name = "flask"
    title = "bare Flask"
    role = "bare"
    settings = "gunicorn, gthread, 2 workers with 4 threads each; one model in each worker"
    peer = "flask"

    def command(self, run: Run) -> list[str]:
        """See System."""
        return _gunicorn(run, "create_app")


class ConstantFlask(System):
    """Flask on gunicorn with a constant response: the cost of both alone."""

    name = "flask-constant"
    title = "Flask, constant response"
    role = "yardstick"
    settings = "as bare Flask, without decoding or a model"
    peer = "flask"
    engines = ("litert",)
    models = ("cnn",)
    kinds = ("png",)

    def command(self, run: Run) -> list[str]:
        """See System."""
        return _gunicorn(run, "create_constant")

    def labels(self, body: bytes) -> list[str]:
        """No labels, because the response is constant."""
        del body
        return []


def _gunicorn(run: Run, factory: str) -> list[str]:
    return [
        *(str(run.python), "-m", "gunicorn", f"server:{factory}()"),
        *(f"--bind=127.0.0.1:{run.port}", f"--workers={run.workers}"),
        *("--worker-class=gthread", "--threads=4"),
    ]


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        Rockstar(),
        RockstarGrpc(),
        BentoML(),
        LitServe(),
        MLServer(),
        RayServe(),
        BareFastAPI(),
        BareFlask(),
        ConstantFlask(),
    )
}
