"""The measured systems: how to start and call each one."""

import base64
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from urllib3.filepost import encode_multipart_formdata

from tfs_api.services import PREDICT
from tfs_api.tensors import to_array, to_proto

Engine = Literal["litert", "tensorflow"]
Model = Literal["cnn", "logistic", "slow"]
# Contents of a request: PNG files, even one of them as a form, preprocessed pixels as JSON, or a
# PNG for an explanation.
Kind = Literal["png", "form", "json", "explain"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_SHAPE = (28, 28, 1)


@dataclass(frozen=True)
class Image:
    """A digit as a PNG file, and as pixels in 0…1."""

    png: bytes
    pixels: list[Any]


@dataclass(frozen=True)
class Request:
    """A request that the load generator repeats."""

    path: str
    content_type: str
    body: bytes
    predictions: int = 1
    headers: Mapping[str, str] | None = None
    method: str = "POST"

    @property
    def all_headers(self) -> dict[str, str]:
        """Content type and other headers."""
        return {"Content-Type": self.content_type, **(self.headers or {})}


@dataclass(frozen=True)
class Run:
    """One start of a system.

    Attributes:
        python: interpreter of the system's environment.
        models: folder of models, `<model>/1/`.
        model: measured model.
        engine: engine that runs the model.
        port: port for HTTP or gRPC.
        spare_ports: two more free ports.
        folder: empty folder for the system's files.
        workers: number of worker processes.
    """

    python: Path
    models: Path
    model: Model
    engine: Engine
    port: int
    spare_ports: tuple[int, int]
    folder: Path
    workers: int = 2


def _json_request(path: str, images: Sequence[Image]) -> Request:
    """Arrays in the format of TensorFlow Serving and many others."""
    body = json.dumps({"instances": [image.pixels for image in images]}).encode()
    return Request(path, "application/json", body, len(images))


def _form_request(path: str, images: Sequence[Image]) -> Request:
    """A form with one file per image."""
    files = [("images", (f"{n}.png", image.png, "image/png")) for n, image in enumerate(images)]
    body, content_type = encode_multipart_formdata(files)
    return Request(path, content_type, body, len(images))


def _plain_request(
    run: Run, kind: Kind, images: Sequence[Image], path: str = "/predict"
) -> Request:
    """Arrays as JSON, one image as the body, or several images as a form."""
    del run
    if kind == "json":
        return _json_request(path, images)
    if kind == "form" or len(images) > 1:
        return _form_request(path, images)
    return Request(path, "image/png", images[0].png)


def _base64_request(run: Run, kind: Kind, images: Sequence[Image]) -> Request:
    """Arrays or PNGs in base64 as JSON."""
    del run
    if kind == "json":
        return _json_request("/predict", images)
    body = json.dumps({"images": [_base64_text(image) for image in images]}).encode()
    return Request("/predict", "application/json", body, len(images))


def _body_or_base64_request(run: Run, kind: Kind, images: Sequence[Image]) -> Request:
    """One image as the body; otherwise as JSON."""
    request = _plain_request if len(images) == 1 else _base64_request
    return request(run, kind, images)


def _rockstar_request(run: Run, kind: Kind, images: Sequence[Image]) -> Request:
    """All ten labels, because the other systems return all."""
    path = f"/explain/{run.model}" if kind == "explain" else f"/predict/{run.model}?top=10"
    return _plain_request(run, kind, images, path)


def _grpc_request(run: Run, kind: Kind, images: Sequence[Image]) -> Request:
    """One message of TensorFlow Serving's Predict with its gRPC frame; the client decodes."""
    del kind
    message = PREDICT.request()
    message.model_spec.name = run.model
    pixels = np.array([image.pixels for image in images], np.float32)
    message.inputs["image"].CopyFrom(to_proto(pixels, as_content=True))
    content = message.SerializeToString()
    frame = b"\x00" + len(content).to_bytes(4, "big") + content
    return Request(PREDICT.path, "application/grpc", frame, len(images))


def _bentoml_request(run: Run, kind: Kind, images: Sequence[Image]) -> Request:
    del run
    if kind == "json":
        return _json_request("/predict_arrays", images)
    return _form_request("/predict", images)


def _mlserver_request(run: Run, kind: Kind, images: Sequence[Image]) -> Request:
    """The V2 inference protocol: images are base64 in a BYTES tensor."""
    del run
    tensor: dict[str, Any] = _pixels("image", images)
    if kind == "png":
        tensor |= {
            "shape": [len(images), 1],
            "datatype": "BYTES",
            "parameters": {"content_type": "base64"},
            "data": [_base64_text(image) for image in images],
        }
    body = json.dumps({"inputs": [tensor]}).encode()
    return Request("/v2/models/digits/infer", "application/json", body, len(images))


def _triton_request(run: Run, kind: Kind, images: Sequence[Image]) -> Request:
    """The V2 inference protocol: images follow the JSON in Triton's binary format."""
    del run
    path = "/v2/models/digits/infer"
    if kind == "json":
        body = json.dumps({"inputs": [_pixels("pixels", images)]}).encode()
        return Request(path, "application/json", body, len(images))
    files = b"".join(len(each.png).to_bytes(4, "little") + each.png for each in images)
    tensor = {
        "name": "png",
        "shape": [len(images), 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(files)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Request(path, "application/octet-stream", head + files, len(images), headers)


def _pixels(name: str, images: Sequence[Image]) -> dict[str, Any]:
    """An FP32 tensor; servers read flat lists faster than nested ones."""
    data = np.ravel([image.pixels for image in images]).tolist()
    return {"name": name, "shape": [len(images), *_SHAPE], "datatype": "FP32", "data": data}


def _base64_text(image: Image) -> str:
    return base64.b64encode(image.png).decode()


def _plain_labels(body: bytes) -> list[str]:
    return [prediction["label"] for prediction in json.loads(body)["predictions"]]


def _v2_labels(body: bytes) -> list[str]:
    return next(each["data"] for each in json.loads(body)["outputs"] if each["name"] == "label")


def _grpc_labels(body: bytes) -> list[str]:
    outputs = PREDICT.response.FromString(body).outputs
    return [str(best) for best in to_array(outputs["probabilities"]).argmax(axis=1)]


def _python(file: str, *arguments: str) -> Callable[[Run], list[str]]:
    return lambda run: [str(run.python), file, *arguments]


def _gunicorn(factory: str) -> Callable[[Run], list[str]]:
    return lambda run: [
        *(str(run.python), "-m", "gunicorn", f"server:{factory}()"),
        *(f"--bind=127.0.0.1:{run.port}", f"--workers={run.workers}"),
        *("--worker-class=gthread", "--threads=4"),
    ]


def _granian(factory: str) -> Callable[[Run], list[str]]:
    return lambda run: [
        *(str(run.python), "-m", "granian", "--interface=rsgi", "--factory"),
        *("--host=127.0.0.1", f"--port={run.port}", f"--workers={run.workers}"),
        *("--log-level=warning", f"server:{factory}"),
    ]


def _model_server(run: Run, port: int) -> list[str]:
    return [
        *(str(run.python), "-m", "rockstar_serving.model_server", "--prefer_tflite_model=true"),
        *("--host=127.0.0.1", f"--port={port}", f"--model_name={run.model}"),
        f"--model_base_path={run.models / run.model}",
    ]


def _gateway_and_model_server(run: Run) -> str:
    port = run.spare_ports[0]
    gateway = [
        *(str(run.python.with_name("rockstar")), "gateway", f"--upstream=127.0.0.1:{port}"),
        *(f"--bind=127.0.0.1:{run.port}", f"--model={run.model}", f"--workers={run.workers}"),
    ]
    return f"{shlex.join(_model_server(run, port))} & exec {shlex.join(gateway)}"


def _mlserver_variables(run: Run) -> dict[str, str]:
    return {
        "MLSERVER_HTTP_PORT": str(run.port),
        "MLSERVER_GRPC_PORT": str(run.spare_ports[0]),
        "MLSERVER_METRICS_PORT": str(run.spare_ports[1]),
        # Folders for metrics are required even with metrics off.
        "MLSERVER_METRICS_DIR": str(run.folder),
        "MLSERVER__CUSTOM_PROMETHEUS_MULTIPROC_DIR": str(run.folder),
    }


def _triton_variables(run: Run) -> dict[str, str]:
    return {"TRITON_PORTS": f"{run.port},{run.spare_ports[0]}"}


@dataclass(frozen=True)
class System:
    """A measured system: how to install, start and call it.

    Attributes:
        name: name in options and results.
        title: name in tables.
        role: ours, a framework, bare (a server written only for this), or a yardstick.
        settings: description of its configuration.
        command: returns the command that starts it, in the peer's folder or else in the run's.
        peer: folder under peers/ with its server and requirements; None for this project.
        request: returns a request with one or several images in the system's format.
        labels: returns the labels in a response.
        variables: returns environment variables, besides those for peers/shared/classifier.py.
        engines: supported engines.
        kinds: supported kinds of requests.
        protocol: protocol of requests.
        equal_work: whether it does the contract's preprocessing and logs each request.
    """

    name: str
    title: str
    role: Literal["ours", "framework", "bare", "yardstick"]
    settings: str
    command: Callable[[Run], list[str]]
    peer: str | None = None
    request: Callable[[Run, Kind, Sequence[Image]], Request] = _plain_request
    labels: Callable[[bytes], list[str]] = _plain_labels
    variables: Callable[[Run], Mapping[str, str]] = lambda _: {}
    engines: tuple[Engine, ...] = ("litert",)
    kinds: tuple[Kind, ...] = ("png", "json")
    protocol: Literal["http", "grpc"] = "http"
    equal_work: bool = False

    @property
    def is_gateway(self) -> bool:
        """Whether it is this project's gateway."""
        return self.role == "ours" and self.protocol == "http"

    def environment(self, run: Run) -> dict[str, str]:
        """Environment variables to add to ours."""
        if self.peer is None:
            return {}
        modules = [HERE / "peers" / "shared", *([ROOT / "contract"] if self.equal_work else [])]
        return {
            "PYTHONPATH": ":".join(map(str, modules)),
            "BENCHMARK_MODEL": str(run.models / run.model / "1"),
            "BENCHMARK_ENGINE": run.engine,
            "BENCHMARK_PORT": str(run.port),
            "BENCHMARK_FOLDER": str(run.folder),
            "BENCHMARK_EQUAL_WORK": "1" if self.equal_work else "",
            **self.variables(run),
        }


_BOTH: tuple[Engine, ...] = ("litert", "tensorflow")
_MOSEC = System(
    name="mosec",
    title="mosec",
    role="framework",
    settings="2 workers, batches of up to 32, waiting at most 1 ms",
    command=_python("server.py", "--log-level=warning"),
    peer="mosec",
    request=_body_or_base64_request,
    variables=lambda run: {"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": str(run.port)},
)
_TRITON = System(
    name="triton",
    title="Triton",
    role="framework",
    settings="Python backend, 2 instances on the CPU, dynamic batches of up to 32 without waiting",
    command=_python("server.py"),
    peer="triton",
    request=_triton_request,
    labels=_v2_labels,
    variables=_triton_variables,
)
_GRANIAN_BATCHING = System(
    name="granian-batching",
    title="Granian with batching",
    role="bare",
    settings="RSGI, 2 workers; the model in a thread, on whatever arrived during the last batch",
    command=_granian("create_batching"),
    peer="granian",
    request=_body_or_base64_request,
)
_LITSERVE = System(
    name="litserve",
    title="LitServe",
    role="framework",
    settings="2 inference workers, 2 API servers, batches of up to 16, waiting at most 2 ms",
    command=_python("server.py"),
    peer="litserve",
    request=_base64_request,
    engines=_BOTH,
)


def _at_equal_work(system: System) -> System:
    return replace(
        system,
        name=f"{system.name}-equal",
        title=f"{system.title}, equal work",
        settings=f"{system.settings}; the contract's preprocessing and an access log",
        kinds=("png",),
        equal_work=True,
    )


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            name="rockstar",
            title="RockstarTF",
            role="ours",
            settings="`rockstar serve` with its defaults: 2 workers, the embedded model server",
            command=lambda run: [
                *(str(run.python.with_name("rockstar")), "serve", f"--models={run.models}"),
                *(f"--model={run.model}", f"--port={run.port}", "--grpc-port=0", "--rest-port=0"),
                f"--workers={run.workers}",
            ],
            request=_rockstar_request,
            engines=_BOTH,
            kinds=("png", "form", "json", "explain"),
            equal_work=True,
        ),
        System(
            name="rockstar-grpc",
            title="RockstarTF, gRPC to the model server",
            role="ours",
            settings="`rockstar_serving.model_server` with its defaults; tensors, not PNGs",
            command=lambda run: _model_server(run, run.port),
            request=_grpc_request,
            labels=_grpc_labels,
            engines=_BOTH,
            kinds=("png",),
            protocol="grpc",
        ),
        System(
            name="rockstar-gateway",
            title="RockstarTF, gateway and model server",
            role="ours",
            settings="`rockstar gateway` with its defaults on gunicorn, and the model server",
            command=lambda run: ["sh", "-c", _gateway_and_model_server(run)],
            request=_rockstar_request,
            kinds=("png", "form", "json", "explain"),
            equal_work=True,
        ),
        _MOSEC,
        _TRITON,
        System(
            name="pytriton",
            title="PyTriton",
            role="framework",
            settings="2 instances in one process, dynamic batches of up to 32 without waiting",
            command=_python("pytriton_server.py"),
            peer="triton",
            request=_triton_request,
            labels=_v2_labels,
            variables=_triton_variables,
            kinds=("png",),
        ),
        _LITSERVE,
        replace(
            _LITSERVE,
            name="litserve-fast",
            title="LitServe, fast queue",
            settings=f"{_LITSERVE.settings}, `fast_queue=True`",
            variables=lambda _: {"LITSERVE_FAST_QUEUE": "1"},
            engines=("litert",),
        ),
        System(
            name="bentoml",
            title="BentoML",
            role="framework",
            settings="2 workers, adaptive batching up to 32 within 1 s, no access log",
            command=lambda run: [
                *(str(run.python), "-m", "bentoml", "serve", "server:Digits"),
                *("--host=127.0.0.1", f"--port={run.port}"),
            ],
            peer="bentoml",
            request=_bentoml_request,
            labels=lambda body: [prediction["label"] for prediction in json.loads(body)],
            variables=lambda run: {
                "BENTOML_HOME": str(run.folder),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            engines=_BOTH,
        ),
        System(
            name="mlserver",
            title="MLServer",
            role="framework",
            settings="2 parallel workers, batches of up to 16, waiting at most 2 ms, metrics off",
            command=lambda run: [str(run.python.with_name("mlserver")), "start", "."],
            peer="mlserver",
            request=_mlserver_request,
            labels=_v2_labels,
            variables=_mlserver_variables,
            engines=_BOTH,
        ),
        System(
            name="ray",
            title="Ray Serve",
            role="framework",
            settings="2 replicas, batches of up to 16, waiting at most 2 ms, "
            "RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
            command=_python("server.py"),
            peer="ray",
            variables=lambda run: {
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_TMPDIR": str(run.folder),
                # Otherwise it writes a token to the home folder; it listens on this machine only.
                "RAY_AUTH_MODE": "disabled",
            },
            engines=_BOTH,
        ),
        System(
            name="granian",
            title="bare Granian",
            role="bare",
            settings="RSGI, 2 workers; the model in the event loop, one request at a time",
            command=_granian("create_bare"),
            peer="granian",
            request=_body_or_base64_request,
        ),
        _GRANIAN_BATCHING,
        System(
            name="robyn",
            title="bare Robyn",
            role="bare",
            settings="2 processes, async handler",
            command=lambda run: [
                *(str(run.python), "server.py", f"--processes={run.workers}", "--workers=1"),
                *("--log-level=WARN", "--disable-openapi"),
            ],
            peer="robyn",
            request=_body_or_base64_request,
        ),
        System(
            name="fastapi",
            title="bare FastAPI",
            role="bare",
            settings="uvicorn with uvloop and httptools, 2 workers, async handler, orjson, "
            "no access log",
            command=lambda run: [
                *(str(run.python), "-m", "uvicorn", "--factory", "server:create_app"),
                *("--host=127.0.0.1", f"--port={run.port}", f"--workers={run.workers}"),
                *("--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning"),
            ],
            peer="fastapi",
            engines=_BOTH,
        ),
        System(
            name="flask",
            title="bare Flask",
            role="bare",
            settings="gunicorn, gthread, 2 workers with 4 threads each; one model in each worker",
            command=_gunicorn("create_app"),
            peer="flask",
            engines=_BOTH,
        ),
        System(
            name="flask-constant",
            title="Flask, constant response",
            role="yardstick",
            settings="as bare Flask, without decoding or a model",
            command=_gunicorn("create_constant"),
            peer="flask",
            kinds=("png",),
        ),
        *map(_at_equal_work, (_MOSEC, _TRITON, _GRANIAN_BATCHING)),
    )
}
