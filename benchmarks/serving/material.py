"""The models and images that all systems get."""

import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from benchmarks.serving.system import Engine, Image, Model
from rockstar_contract.contract import CONTRACT_FILE, Contract, ImageInput
from rockstar_contract.manifest import write_manifest
from rockstar_serving.model_folder import ModelFolderError, find_models

MODELS: dict[Model, list[str]] = {"cnn": ["--preset=lecture"], "logistic": []}
IMAGES = 64
# Apart enough that a rounding does not change the label.
_MARGIN = 0.2
_CANDIDATES = 300


@dataclass(frozen=True)
class Material:
    """What requests are made of, and what answers must say.

    Attributes:
        models: by engine, a folder of models that this engine runs.
        images: digits that every model is sure about.
        labels: by model, what it says of them.
    """

    models: dict[Engine, Path]
    images: list[Image]
    labels: dict[Model, list[str]]


def train_missing(folder: Path) -> None:
    """Train the models that are not in <folder>/models, an epoch each: speed is what is measured.

    Raises:
        CalledProcessError: training failed; it said why.
    """
    try:
        there = set(find_models(folder / "models"))
    except ModelFolderError:
        there = set()
    for model, options in MODELS.items():
        if model not in there:
            click.echo(f"training {model} on MNIST for one epoch")
            settings = ["--data=mnist", "--epochs=1", f"--workdir={folder}", *options]
            command = [sys.executable, "-m", "rockstar_cli", "train", model, *settings]
            subprocess.run(command, check=True)


def gather(folder: Path) -> Material:
    """Models and images for a run.

    Args:
        folder: holds models/, and gets what is made of it.
    """
    from rockstar_training.datasets import load

    models = folder / "models"
    dataset = load("mnist")
    candidates = dataset.images[-dataset.test_count :][:_CANDIDATES]
    named = {model: _named(models / model / "1", candidates) for model in MODELS}
    sure = np.all([sure for _, sure in named.values()], axis=0)
    chosen = np.flatnonzero(sure)[:IMAGES]
    return Material(
        models={"litert": models, "tensorflow": _without_litert(models, folder)},
        images=[_image(candidates[index]) for index in chosen],
        labels={model: [names[index] for index in chosen] for model, (names, _) in named.items()},
    )


def _named(version_folder: Path, images: NDArray[np.uint8]) -> tuple[list[str], NDArray[np.bool_]]:
    """A model's labels of images, and which of them are the same for plain and prepared pixels."""
    from rockstar_contract.preprocessing import preprocess
    from rockstar_serving.model_server.engines.litert import LiteRTEngine

    contract = Contract.from_json((version_folder / CONTRACT_FILE).read_bytes())
    assert isinstance(contract.input, ImageInput)  # noqa: S101
    steps = contract.input.preprocessing
    engine = LiteRTEngine(version_folder)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = engine.run(
            "serving_default", {"image": batch}, ["probabilities"]
        )["probabilities"]
        return found

    prepared = run(np.stack([preprocess(image, steps) for image in images]))
    plain = run(images.astype(np.float32) / np.float32(255))
    ordered = [np.sort(each, axis=1) for each in (prepared, plain)]
    sure = np.all([each[:, -1] - each[:, -2] > _MARGIN for each in ordered], axis=0)
    best = prepared.argmax(axis=1)
    return [contract.labels[index] for index in best], sure & (best == plain.argmax(axis=1))


def _image(pixels: NDArray[np.uint8]) -> Image:
    stream = io.BytesIO()
    Picture.fromarray(pixels[:, :, 0]).save(stream, "PNG")
    return Image(stream.getvalue(), np.round(pixels / 255, 4).tolist())


def _without_litert(models: Path, folder: Path) -> Path:
    """A copy of the models that has no LiteRT files, so that TensorFlow is what runs them."""
    copy = folder / "models-tensorflow"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(models, copy, ignore=shutil.ignore_patterns("model.tflite"))
    for model in MODELS:
        # Else the model server would say that a file is missing.
        write_manifest(copy / model / "1")
    return copy
