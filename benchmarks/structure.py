"""Number of the product's files and lines, and of files that one prediction enters.

    python -m benchmarks.structure --models demo/models --image demo/samples/7.png

A switch is a call into a different file than the previous call in the same thread. Only the
product's own files count, without generated code. Each path runs once before it is traced. The CPU
time is that of the application alone, called in a loop without a server.
"""

import ast
import asyncio
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any

import click
import grpc
import numpy as np
import orjson
from werkzeug.serving import make_server

from rockstar_client import HttpClient
from rockstar_client.backend import Query
from rockstar_client.tfserving import TFServingClient
from rockstar_contract.contract import TensorInput
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.rsgi import RsgiGateway
from rockstar_serving.gateway.settings import Files, GatewayConfig
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import (
    EngineOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
)
from rockstar_serving.model_server.server import ModelServer
from tfs_api.services import PREDICT
from tfs_api.tensors import to_proto

ROOT = Path(__file__).parents[1]
FOLDERS = ("contract", "training", "serving", "clients", "commandline")
SMALL = 60
LOOPS, ROUNDS = 500, 9


class Trace:
    """A profile function (see sys.setprofile) that records which of the product's files run.

    Attributes:
        files: relative paths in the order of their first call.
        switches: number of calls into a different file than the previous call in the thread.
        active: whether it records.
    """

    def __init__(self) -> None:
        self._product = {str(path): str(path.relative_to(ROOT)) for path in product_files()}
        self.start(None)
        self.active = False

    def start(self, thread: int | None) -> None:
        """Start over, with one thread, or with all for None."""
        self.files: list[str] = []
        self.switches = 0
        self._last: dict[int, str] = {}
        self._thread = thread
        self.active = True

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Record a call."""
        if not self.active or event != "call":
            return
        file = self._product.get(frame.f_code.co_filename, "")
        thread = threading.get_ident()
        if not file or self._thread not in (None, thread):
            return
        if file != self._last.get(thread):
            self.switches += thread in self._last
            self._last[thread] = file
        if file not in self.files:
            self.files.append(file)


def product_files() -> list[Path]:
    """The product's Python files, without generated code."""
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if not path.stem.endswith("_pb2"))


def small_files() -> list[str]:
    """Files under 60 lines that exactly one other file imports."""
    files = product_files()
    modules = {_module(path): path for path in files}
    importers: dict[Path, set[Path]] = {path: set() for path in files}
    for path in files:
        for name in _imported(path):
            target = modules.get(name) or modules.get(name.rpartition(".")[0])
            if target is not None and target != path:
                importers[target].add(path)
    return [
        str(path.relative_to(ROOT))
        for path in files
        if path.name not in ("__init__.py", "__main__.py")
        and len(path.read_text().splitlines()) < SMALL
        and len(importers[path]) == 1
    ]


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@contextmanager
def gateway_config(models: Path, name: str, upstream: int | None) -> Iterator[GatewayConfig]:
    """The settings of a gateway with the model in its process.

    Args:
        models: folder of models.
        name: model name.
        upstream: port of a model server with the same model.
    """
    with tempfile.TemporaryDirectory() as folder:
        config_file = Path(folder) / "models.config"
        base_path = (models / name).resolve()
        config_file.write_text(
            f'model_config_list {{ config {{ name: "{name}" base_path: "{base_path}" '
            'model_platform: "tensorflow" } }'
        )
        yield GatewayConfig(
            upstream=f"127.0.0.1:{upstream}", models=(name,), models_config=str(config_file)
        )


@contextmanager
def application(config: GatewayConfig) -> Iterator[RsgiGateway]:
    """The gateway's application, as `rockstar serve` runs it."""
    with asyncio.Runner() as runner:
        app = RsgiGateway(config, Files(), stopping=lambda: False)
        app.__rsgi_init__(runner.get_loop())
        yield app


class Headers(dict[str, str]):
    """The headers of a request, as RSGI has them."""

    def get_all(self, name: str) -> list[str]:
        """All values of a header."""
        return [self[name]] if name in self else []


class ImageRequest:
    """A request for the prediction of a PNG: an RSGI scope and protocol."""

    http_version, scheme, method, query_string = "1.1", "http", "POST", ""
    server = client = "127.0.0.1:80"

    def __init__(self, name: str, image: bytes) -> None:
        self.path = f"/predict/{name}"
        self._image = image
        length = str(len(image))
        self.headers = Headers(
            {"host": "127.0.0.1", "content-type": "image/png", "content-length": length}
        )

    async def __call__(self) -> bytes:
        """The body."""
        return self._image

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in one chunk."""
        yield self._image

    def response_bytes(self, status: int, _headers: list[tuple[str, str]], body: bytes) -> None:
        """Check the response."""
        assert status == HTTPStatus.OK, body  # noqa: S101


def image_prediction(app: RsgiGateway, name: str, image: bytes) -> Callable[[], None]:
    """A function that predicts one PNG with the application."""
    request: Any = ImageRequest(name, image)
    loop = app.loop
    return lambda: loop.run_until_complete(app.__rsgi__(request, request))


def cpu_milliseconds(app: RsgiGateway, name: str, image: bytes, at_once: int) -> float:
    """CPU time of this process per prediction of a PNG, the median of several rounds."""
    request: Any = ImageRequest(name, image)

    async def predict_in_turn() -> None:
        for _ in range(LOOPS // at_once):
            await app.loop.create_task(app.__rsgi__(request, request))

    async def predict_all() -> None:
        await asyncio.gather(*(predict_in_turn() for _ in range(at_once)))

    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        app.loop.run_until_complete(predict_all())
        found.append((time.process_time() - started) / LOOPS * 1000)
    return statistics.median(found)


def count(trace: Trace, call: Callable[[], None], *, here: bool = False) -> str:
    """Files and switches of a second call, as a table cell; `here`: in this thread only."""
    call()
    trace.start(threading.get_ident() if here else None)
    sys.setprofile(trace)
    try:
        call()
    finally:
        sys.setprofile(None)
        trace.active = False
    return f"{len(trace.files)} files, {trace.switches} switches"


@contextmanager
def http_server(app: Any) -> Iterator[str]:
    """Serve the application; yields the base URL."""
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def model_server(models: Path, name: str, rest: RestOptions | None = None) -> Iterator[ModelServer]:
    """A model server in this process."""
    options = ServerOptions(
        rest=rest or RestOptions(),
        models=(ModelConfig(name, models / name),),
        engine=EngineOptions(prefer_tflite=True),
        load=LoadOptions(poll_seconds=0),  # the polling thread would be traced too
    )
    with ModelServer(options) as server:
        yield server


def grpc_prediction(port: int | None, name: str, shape: tuple[int, ...]) -> Callable[[], None]:
    """A function that calls Predict with an array of zeros."""
    request = PREDICT.request()
    request.model_spec.name = name
    request.inputs["image"].CopyFrom(to_proto(np.zeros(shape, np.float32)))
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    call: Any = channel.unary_unary(PREDICT.path)
    content = request.SerializeToString()
    return lambda: (call(content), None)[1]


def rest_prediction(port: int | None, name: str, shape: tuple[int, ...]) -> Callable[[], None]:
    """The same over REST."""
    body = orjson.dumps({"instances": np.zeros(shape).tolist()})
    url = f"http://127.0.0.1:{port}/v1/models/{name}:predict"

    def predict() -> None:
        with urllib.request.urlopen(url, body) as response:
            response.read()

    return predict


@click.command()
@click.option("--models", default="demo/models", type=click.Path(exists=True, path_type=Path))
@click.option("--image", default="demo/samples/7.png", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="cnn", help="An image classifier.")
@click.option("--files", "show_files", is_flag=True, help="List the files that each path enters.")
def main(models: Path, image: Path, model: str, show_files: bool) -> None:
    """Measure and print a table."""
    sources = product_files()
    lines = sum(len(path.read_text().splitlines()) for path in sources)
    rows = {
        "product Python files": f"{len(sources):,}",
        "product lines": f"{lines:,}",
        f"files under {SMALL} lines imported by exactly one other file": str(len(small_files())),
    }
    trace = Trace()
    threading.setprofile(trace)  # for threads started from now on
    entered: dict[str, list[str]] = {}

    def measure(row: str, call: Callable[[], None], *, here: bool = False) -> None:
        rows[row] = count(trace, call, here=here)
        entered[row] = list(trace.files)

    content = image.read_bytes()
    with model_server(models, model) as server:
        with TFServingClient(f"127.0.0.1:{server.grpc_port}") as backend:
            spec = backend.contract(Query(model)).input
        if isinstance(spec, TensorInput):
            raise click.BadParameter(f"{model} takes tensors, not images", param_hint="--model")
        shape = 1, *spec.shape
        measure("gRPC Predict", grpc_prediction(server.grpc_port, model, shape))
        measure("REST predict", rest_prediction(server.rest_port, model, shape))
        with gateway_config(models, model, server.grpc_port) as config:
            with application(config) as app:
                measure("image prediction, gateway to model", image_prediction(app, model, content))
            with http_server(create_app(config)) as url, HttpClient(url) as client:
                measure(
                    "HttpClient.predict",
                    lambda: (client.predict(model, content), None)[1],
                    here=True,
                )
            threading.setprofile(None)
            # Threads keep the profile function that they started with: start a new application.
            with application(config) as app:
                one, eight = (cpu_milliseconds(app, model, content, n) for n in (1, 8))
        rows["CPU of an image prediction, 1 and 8 at a time"] = f"{one:.2f}, {eight:.2f} ms"
    width = max(map(len, rows))
    for row, cell in rows.items():
        click.echo(f"{row:{width}}  {cell}")
        if show_files:
            click.echo("".join(f"  {file}\n" for file in entered.get(row, ())), nl=False)


if __name__ == "__main__":
    main()
