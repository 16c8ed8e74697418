"""The models and images for all systems."""

import io
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from benchmarks.serving.plan import FEW_IMAGES, MODELS
from benchmarks.serving.systems import Engine, Image, Model
from rockstar_contract.contract import CONTRACT_FILE, Contract, ImageInput
from rockstar_contract.manifest import write_manifest
from rockstar_serving.model_folder import ModelFolderError, find_models

_TRAINED: dict[Model, list[str]] = {"cnn": ["--preset=lecture"], "logistic": []}
_IMAGES = 1024
# Convolutions of the slow model, with 64 channels of 28 x 28; it needs about 5 ms on one core.
_CONVOLUTIONS = 10
# Difference of the two highest probabilities at which rounding cannot change the label.
_MARGIN = 0.2
_CANDIDATES = 3000


@dataclass(frozen=True)
class Material:
    """Contents of requests, and the expected labels.

    Attributes:
        models: folder of models by engine.
        images: digits that every trained model predicts with certainty.
        labels: labels of the images by model; of the slow model, only of the first FEW_IMAGES.
    """

    models: dict[Engine, Path]
    images: list[Image]
    labels: dict[Model, list[str]]


def make_missing_models(folder: Path) -> None:
    """Make the models that are not in <folder>/models.

    Models are trained for one epoch, and the slow one not at all: only speed is measured.

    Raises:
        CalledProcessError: training or import failed; it printed the reason.
    """
    try:
        existing = set(find_models(folder / "models"))
    except ModelFolderError:
        existing = set()
    for model, options in _TRAINED.items():
        if model not in existing:
            click.echo(f"training {model} on MNIST for one epoch")
            settings = ["--data=mnist", "--epochs=1", f"--workdir={folder}", *options]
            _rockstar("train", model, *settings)
    if "slow" not in existing:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
            file = Path(temporary, "slow.keras")
            _save_slow_model(file)
            contract = [f"--labels={','.join(map(str, range(10)))}", "--image-size=28"]
            more = ["--name=slow", "--input=image", "--pixels=0-1", f"--models={folder / 'models'}"]
            _rockstar("import", str(file), *contract, *more)


def _rockstar(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "rockstar_cli", *arguments], check=True)


def _save_slow_model(file: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    convolutions = [
        layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(_CONVOLUTIONS)
    ]
    head = [layers.Flatten(), layers.Dense(10, activation="softmax")]
    keras.Sequential([keras.Input((28, 28, 1)), *convolutions, *head]).save(file)


def gather(folder: Path) -> Material:
    """Models and images for a run.

    Args:
        folder: folder of models/; a copy without LiteRT files is written to it.
    """
    from rockstar_training.datasets import load

    models = folder / "models"
    dataset = load("mnist")
    candidates = dataset.images[-dataset.test_count :][:_CANDIDATES]
    found = {model: _labels(models / model / "1", candidates) for model in _TRAINED}
    sure = np.all([sure for _, sure in found.values()], axis=0)
    chosen = np.flatnonzero(sure)[:_IMAGES]
    labels = {model: [names[index] for index in chosen] for model, (names, _) in found.items()}
    few = candidates[chosen[:FEW_IMAGES]]
    labels["slow"], _ = _labels(models / "slow" / "1", few)
    return Material(
        models={"litert": models, "tensorflow": _without_litert(models, folder)},
        images=[_image(candidates[index]) for index in chosen],
        labels=labels,
    )


def _labels(version_folder: Path, images: NDArray[np.uint8]) -> tuple[list[str], NDArray[np.bool_]]:
    """Labels of images, and whether each is certain and the same for plain, scaled pixels."""
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
    """Copy the models without LiteRT files, so that TensorFlow runs them."""
    copy = folder / "models-tensorflow"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(models, copy, ignore=shutil.ignore_patterns("model.tflite"))
    for model in MODELS:
        # Otherwise the model server reports a missing file.
        write_manifest(copy / model / "1")
    return copy
