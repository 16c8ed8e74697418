"""Gateways as processes, in front of a toy model server in the test's process."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from rockstar_serving.listening import reserve
from tests.contracts import LABELS, make_contract
from tests.images import png, stroke
from tests.waiting import until
from tfs_api.messages.model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tfs_api.messages.prediction_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
    PredictResponse,
)
from tfs_api.services import SIGNATURE_DEF_MAP_URL
from tfs_api.signature import Signature, TensorSpec, signature_def_map
from tfs_api.tensors import to_array, to_proto

ROOT = Path(__file__).parents[3]
IMAGE = png(stroke())


class ToyServer:
    """A model server of `toy`, whose versions 1 and 2 always predict the first label with 1."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.proceed = threading.Event()
        self.proceed.set()
        self.predictions = 0
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(64))
        methods: list[tuple[str, str, Any, Any]] = [
            ("PredictionService", "Predict", self._predict, PredictRequest),
            ("PredictionService", "GetModelMetadata", self._metadata, GetModelMetadataRequest),
            ("ModelService", "GetModelStatus", self._states, GetModelStatusRequest),
        ]
        for service, name, method, request in methods:
            handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
                method, request.FromString, lambda response: response.SerializeToString()
            )
            service = f"tensorflow.serving.{service}"
            generic = grpc.method_handlers_generic_handler(service, {name: handler})
            self._server.add_generic_rpc_handlers([generic])
        address = "127.0.0.1:0"
        self.port = (
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
        )
        self._server.start()

    def _predict(self, request: PredictRequest, _context: grpc.ServicerContext) -> PredictResponse:
        version = request.model_spec.version.value or 2
        response = PredictResponse(model_spec={"name": "toy"})
        response.model_spec.version.value = version
        if request.model_spec.signature_name == "contract":
            document = np.array([make_contract(version=version).to_json()], object)
            response.outputs["contract"].CopyFrom(to_proto(document))
            return response
        rows = len(to_array(request.inputs["image"]))
        with self._lock:
            self.predictions += rows
        assert self.proceed.wait(30)
        probabilities = np.eye(len(LABELS), dtype=np.float32)[np.zeros(rows, int)]
        response.outputs["probabilities"].CopyFrom(to_proto(probabilities))
        return response

    def _metadata(
        self, request: GetModelMetadataRequest, _context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        float32, int32, text = np.dtype(np.float32), np.dtype(np.int32), np.dtype(object)
        signatures = {
            "serving_default": Signature(
                {"image": TensorSpec("image:0", float32, (-1, 8, 8, 1))},
                {"probabilities": TensorSpec("p:0", float32, (-1, len(LABELS)))},
            ),
            "contract": Signature(
                {"query": TensorSpec("query:0", int32, (-1,))},
                {"contract": TensorSpec("c:0", text, (-1,))},
            ),
        }
        response = GetModelMetadataResponse(model_spec={"name": "toy"})
        response.model_spec.version.value = request.model_spec.version.value or 2
        packed = response.metadata["signature_def"]
        packed.type_url = SIGNATURE_DEF_MAP_URL
        packed.value = signature_def_map(signatures).SerializeToString()
        return response

    def _states(
        self, request: GetModelStatusRequest, context: grpc.ServicerContext
    ) -> GetModelStatusResponse:
        if request.model_spec.name != "toy":
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
        available = [{"version": version, "state": "AVAILABLE"} for version in (1, 2)]
        return GetModelStatusResponse(model_version_status=available)

    def stop(self) -> None:
        self.proceed.set()
        self._server.stop(0).wait()


@dataclass
class Gateway:
    """A running gateway."""

    process: subprocess.Popen
    url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def predict(
        self,
        data: Any = IMAGE,
        *,
        path: str = "/predict/toy",
        session: Any = requests,
        **headers: str,
    ) -> requests.Response:
        """Post a body, by default an image; without a session, on a new connection."""
        headers = {"Content-Type": "image/png"} | headers
        response: requests.Response = session.post(
            f"{self.url}{path}", data=data, headers=headers, timeout=60
        )
        return response

    def ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=20).status_code == 200
        except requests.RequestException:
            return False

    def has_started(self) -> bool:
        """Whether it is ready, with all its workers: the first one may respond before others exist."""
        if not self.ready():
            return False
        if not Path("/proc/self/task").exists():
            return True  # Only Linux lists the workers.
        options = self.process.args
        assert isinstance(options, list)
        given = [option for option in map(str, options) if option.startswith("--workers=")]
        return len(self.workers()) >= (int(given[-1].partition("=")[2]) if given else 2)

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def serving_toy() -> Iterator[ToyServer]:
    server = ToyServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def toy_server() -> Iterator[ToyServer]:
    with serving_toy() as server:
        yield server


def launch(
    upstream: int,
    log: Path,
    *arguments: str,
    server: str = "gunicorn",
    interpreter: Path | None = None,
    within: Sequence[str] = (),
    port: int | None = None,
) -> Gateway:
    """Starts a gateway on a free port, in front of the model server at a port.

    The interpreter of another environment runs the release that is installed there. `within` is a
    command that runs the gateway, with limits for example. The port is that of another address
    among the arguments.
    """
    if server == "gunicorn":
        bound = socket.create_server(("127.0.0.1", 0), backlog=512)
    else:
        bound = reserve("127.0.0.1", 0, "--bind")
        arguments = ("--server=granian", *arguments)
    with bound, log.open("w") as file:
        process = subprocess.Popen(
            [
                *within,
                *(interpreter or sys.executable, "-m", "rockstar_serving.gateway"),
                f"--upstream=127.0.0.1:{upstream}",
                f"--bind=fd://{bound.fileno()}",
                *arguments,
            ],
            cwd=log.parent if interpreter else ROOT,
            pass_fds=(bound.fileno(),),
            stdout=file,
            stderr=file,
        )
        return Gateway(process, f"http://127.0.0.1:{port or bound.getsockname()[1]}", log)


@contextmanager
def running(
    upstream: int, log: Path, *arguments: str, server: str = "gunicorn"
) -> Iterator[Gateway]:
    """Run a gateway; yields it when it is ready."""
    gateway = launch(upstream, log, *arguments, server=server)
    try:
        until(gateway.has_started, what="a gateway that is ready")
        yield gateway
    finally:
        end(gateway)


def end(gateway: Gateway) -> None:
    if gateway.process.poll() is None:
        gateway.process.send_signal(signal.SIGINT)
    try:
        gateway.process.wait(15)
    finally:
        gateway.process.kill()


@pytest.fixture(scope="module", params=["gunicorn", "granian"])
def host(request: pytest.FixtureRequest) -> str:
    """The HTTP server of the gateways."""
    name: str = request.param
    return name


@pytest.fixture
def start_gateway(toy_server, tmp_path, host) -> Iterator:
    """Starts gateways in front of the toy, and stops them at the end."""
    gateways: list[Gateway] = []

    def start(*arguments: str, **options: Any) -> Gateway:
        log = tmp_path / f"gateway-{len(gateways)}.log"
        gateway = launch(toy_server.port, log, "--model=toy", *arguments, server=host, **options)
        gateways.append(gateway)
        until(gateway.has_started, what="a gateway that is ready")
        return gateway

    yield start
    for gateway in gateways:
        end(gateway)


def total(gateway, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels, from any worker."""
    text = requests.get(f"{gateway.url}/metrics", timeout=30).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
