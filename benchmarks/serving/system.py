"""The interface between the harness and a system."""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Engine = Literal["litert", "tensorflow"]
Model = Literal["cnn", "logistic"]
# Contents of a request: PNG files, or preprocessed pixels as JSON.
Kind = Literal["png", "json"]

SHAPE = (28, 28, 1)
HERE = Path(__file__).parent


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

    @property
    def version_folder(self) -> Path:
        """Version folder of the measured model."""
        return self.models / self.model / "1"


class System(ABC):
    """A measured system: how to install, start and call it.

    Attributes:
        name: name in options and results.
        title: name in tables.
        role: ours, a framework, bare (a server written only for this), or a yardstick.
        settings: description of its configuration.
        peer: folder under peers/ with its server and requirements; None for this project.
        engines: supported engines.
        models: models that it is measured with.
        kinds: supported kinds of requests.
        protocol: protocol of requests.
    """

    name: str
    title: str
    role: Literal["ours", "framework", "bare", "yardstick"]
    settings: str
    peer: str | None = None
    engines: tuple[Engine, ...] = ("litert", "tensorflow")
    models: tuple[Model, ...] = ("cnn", "logistic")
    kinds: tuple[Kind, ...] = ("png", "json")
    protocol: Literal["http", "grpc"] = "http"

    @abstractmethod
    def command(self, run: Run) -> list[str]:
        """Command that starts it, in the peer's folder or else in the run's."""

    def variables(self, run: Run) -> Mapping[str, str]:
        """Environment variables to add to ours."""
        return peer_variables(run) if self.peer else {}

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """A request with one or several images in the system's format."""
        del run
        return plain_request("/predict", kind, images)

    def labels(self, body: bytes) -> list[str]:
        """Labels in a response."""
        return [prediction["label"] for prediction in json.loads(body)["predictions"]]


def peer_folder(name: str) -> Path:
    """Folder of a peer's server and requirements."""
    return HERE / "peers" / name


def peer_variables(run: Run) -> dict[str, str]:
    """Environment variables that peers read; see peers/shared/classifier.py."""
    return {
        "PYTHONPATH": str(peer_folder("shared")),
        "BENCHMARK_MODEL": str(run.version_folder),
        "BENCHMARK_ENGINE": run.engine,
        "BENCHMARK_PORT": str(run.port),
    }


def json_request(path: str, images: Sequence[Image]) -> Request:
    """Arrays in the format of TensorFlow Serving and many others."""
    body = json.dumps({"instances": [image.pixels for image in images]}).encode()
    return Request(path, "application/json", body, len(images))


def base64_text(image: Image) -> str:
    """A PNG in base64, for JSON."""
    return base64.b64encode(image.png).decode()


def form_request(path: str, images: Sequence[Image], name: str = "images") -> Request:
    """A form with one file per image."""
    boundary = "benchmark-5f1c9f3a"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
        f'filename="{number}.png"\r\nContent-Type: image/png\r\n\r\n'.encode()
        + image.png
        for number, image in enumerate(images)
    ]
    body = b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])
    return Request(path, f"multipart/form-data; boundary={boundary}", body, len(images))


def plain_request(path: str, kind: Kind, images: Sequence[Image]) -> Request:
    """Arrays as JSON, one image as the body, or several images as a form."""
    if kind == "json":
        return json_request(path, images)
    if len(images) == 1:
        return Request(path, "image/png", images[0].png)
    return form_request(path, images)
