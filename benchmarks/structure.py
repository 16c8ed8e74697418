"""Number of the product's files and lines, and of files that one prediction enters.

    python -m benchmarks.structure --models demo/models --image demo/samples/7.png

A switch is a call into a different file than the previous call in the same thread. Only the
product's own files count, without generated code. Each path runs once before it is traced. The CPU
time is that of the application alone, called in a loop without a server.
"""

import ast
import io
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from rockstar_serving.gateway.settings import GatewayConfig
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
def application(models: Path, name: str, upstream: int | None) -> Iterator[Any]:
    """The gateway's application with the model in its process.

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
        yield create_app(
            GatewayConfig(
                upstream=f"127.0.0.1:{upstream}",
                models=(name,),
                models_config=str(config_file),
                access_log=True,
            )
        )


def image_prediction(app: Any, name: str, image: bytes) -> Callable[[], None]:
    """A function that predicts one PNG with the application."""

    def predict() -> None:
        environ = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": f"/predict/{name}",
            "QUERY_STRING": "",
            "CONTENT_TYPE": "image/png",
            "CONTENT_LENGTH": str(len(image)),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(image),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        statuses: list[str] = []
        response = app.wsgi_app(environ, lambda status, _headers: statuses.append(status))
        body = b"".join(response)
        getattr(response, "close", lambda: None)()
        assert statuses == ["200 OK"], (statuses, body)  # noqa: S101

    return predict


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


def cpu_milliseconds(call: Callable[[], None]) -> float:
    """CPU time of all threads of this process per call, the median of several loops."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(LOOPS):
            call()
        found.append((time.process_time() - started) / LOOPS * 1000)
    return statistics.median(found)


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
        with application(models, model, server.grpc_port) as app:
            measure("image prediction, gateway to model", image_prediction(app, model, content))
            with http_server(app) as url, HttpClient(url) as client:
                measure(
                    "HttpClient.predict",
                    lambda: (client.predict(model, content), None)[1],
                    here=True,
                )
        threading.setprofile(None)
        # Threads keep the profile function that they started with, so start a new application.
        with application(models, model, server.grpc_port) as app:
            milliseconds = cpu_milliseconds(image_prediction(app, model, content))
            rows["CPU of an image prediction in the application"] = f"{milliseconds:.2f} ms"
    width = max(map(len, rows))
    for row, cell in rows.items():
        click.echo(f"{row:{width}}  {cell}")
        if show_files:
            click.echo("".join(f"  {file}\n" for file in entered.get(row, ())), nl=False)


if __name__ == "__main__":
    main()
