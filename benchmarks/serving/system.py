"""What the harness has to know of a system to measure it."""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Engine = Literal["litert", "tensorflow"]
Model = Literal["cnn", "logistic"]
# What a request holds: images as PNG files, or their prepared pixels as JSON.
Kind = Literal["png", "json"]

SHAPE = (28, 28, 1)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Image:
    """A digit as a PNG file, and as numbers in 0…1."""

    png: bytes
    pixels: list[Any]


@dataclass(frozen=True)
class Request:
    """A request as the load generator repeats it."""

    path: str
    content_type: str
    body: bytes
    predictions: int = 1


@dataclass(frozen=True)
class Run:
    """One start of a system.

    Attributes:
        python: of its environment.
        models: folder of models, `<model>/1/`.
        model: the one that is asked.
        engine: what runs it.
        port: of its HTTP API, or gRPC.
        spare_ports: two more that are free.
        folder: empty, for whatever it writes.
        workers: processes that answer.
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
        """Of the model that is asked."""
        return self.models / self.model / "1"


class System(ABC):
    """A row of the tables: how a system is set up, started and asked.

    Attributes:
        name: how options and results call it.
        title: how tables call it.
        role: ours, a framework, bare (written by hand for just this), or a yardstick.
        settings: how it is configured, in words.
        peer: folder under peers/ with its server and requirements; None is this project.
        engines: what can run the model in it.
        models: that it is measured with.
        kinds: of requests that it answers.
        protocol: what it is asked over.
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
        """What starts it; its working directory is its peer's folder, or the run's."""

    def variables(self, run: Run) -> Mapping[str, str]:
        """Environment variables that it gets besides ours."""
        return peer_variables(run)

    def request(self, run: Run, kind: Kind, images: Sequence[Image]) -> Request:
        """A request with one or several images in the system's own format."""
        del run
        return plain_request("/predict", kind, images)

    def labels(self, body: bytes) -> list[str]:
        """The labels that an answer names."""
        return plain_labels(body)


def peer_folder(name: str) -> Path:
    """Where a peer's server and requirements lie."""
    return HERE / "peers" / name


def peer_variables(run: Run) -> dict[str, str]:
    """What peers' servers read: see peers/shared/classifier.py."""
    return {
        "PYTHONPATH": str(peer_folder("shared")),
        "BENCHMARK_MODEL": str(run.version_folder),
        "BENCHMARK_ENGINE": run.engine,
        "BENCHMARK_PORT": str(run.port),
    }


def json_request(path: str, images: Sequence[Image]) -> Request:
    """Arrays as TensorFlow Serving and many others take them."""
    body = json.dumps({"instances": [image.pixels for image in images]}).encode()
    return Request(path, "application/json", body, len(images))


def base64_text(image: Image) -> str:
    """A PNG as JSON holds it."""
    return base64.b64encode(image.png).decode()


def form_request(path: str, images: Sequence[Image], name: str = "images") -> Request:
    """A form with a file for each image."""
    boundary = "benchmark-5f1c9f3a"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
        f'filename="{number}.png"\r\nContent-Type: image/png\r\n\r\n'.encode()
        + image.png
        for number, image in enumerate(images)
    ]
    body = b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])
    return Request(path, f"multipart/form-data; boundary={boundary}", body, len(images))


def png_request(path: str, images: Sequence[Image]) -> Request:
    """One image as the body itself, several as a form."""
    if len(images) == 1:
        return Request(path, "image/png", images[0].png)
    return form_request(path, images)


def plain_request(path: str, kind: Kind, images: Sequence[Image]) -> Request:
    """What bare servers take."""
    return png_request(path, images) if kind == "png" else json_request(path, images)


def plain_labels(body: bytes) -> list[str]:
    """Of {"predictions": [{"label": …}, …]}."""
    return [prediction["label"] for prediction in json.loads(body)["predictions"]]
