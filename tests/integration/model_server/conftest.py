"""Servers with a toy model in LiteRT or a fake one, in this process or in another."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.options import (
    GrpcOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
)
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import FakeLoader, add_version
from tests.model_fixtures import write_version
from tests.waiting import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    base_path = tmp_path_factory.mktemp("models") / "toy"
    for version in (1, 2):
        write_version(base_path, version)
    write_version(base_path, 3, b"\0\0\0\0TFL3 but nothing more")
    config = ModelConfig("toy", base_path, All(), {"stable": 1})
    labels = LoadOptions(allow_labels_for_unavailable=True)
    with ModelServer(ServerOptions(models=(config,), load=labels)) as server:
        yield server


def ask(address: str | None, path: str, body: Any = None) -> tuple[int, Any]:
    """Send one request; returns status and JSON."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"http://{address}{path}", data, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def refused(port: int) -> bool:
    """Whether no server listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """The base path of a toy model with version 1."""
    write_version(tmp_path / "toy", 1)
    return tmp_path / "toy"


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


def fake_server(
    folder: Path,
    loader: FakeLoader | None = None,
    grpc: GrpcOptions = GrpcOptions(),  # noqa: B008
    rest: RestOptions = RestOptions(port=None),  # noqa: B008
    *,
    host: str = "127.0.0.1",
    model: str = "m",
) -> ModelServer:
    """A server with a fake model; without REST."""
    add_version(folder / "m", 1)
    models = (ModelConfig(model, folder / "m"),)
    return ModelServer(
        ServerOptions(models, host=host, grpc=grpc, rest=rest), loader or FakeLoader()
    )


@dataclass
class Process:
    """A running `python -m rockstar_serving.model_server`."""

    popen: "subprocess.Popen[str]"
    address_file: Path

    def address(self, seconds: float = 30) -> dict[str, Any]:
        """Its addresses; importing TensorFlow takes a while."""
        until(
            lambda: self.address_file.exists() or self.popen.poll() is not None,
            seconds,
            what="it starts",
        )
        assert self.popen.poll() is None, self.popen.communicate()[1]
        address: dict[str, Any] = json.loads(self.address_file.read_text())
        return address

    def finish(self) -> tuple[int, str]:
        """Its exit status and log."""
        error = self.popen.communicate(timeout=30)[1]
        return self.popen.returncode, error


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*flags: str, module: str = "rockstar_serving.model_server") -> Process:
            address_file = tmp_path / "address.json"
            popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", module, "--host=127.0.0.1"),
                    *(f"--address_file={address_file}", *flags),
                ],
                cwd=Path(__file__).parents[3],
                env={**os.environ, "PYTHONPATH": "."},
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(popen)
            stack.callback(popen.kill)
            return Process(popen, address_file)

        yield start
