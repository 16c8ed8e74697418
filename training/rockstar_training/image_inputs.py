"""What models of images take, and the steps from pixels to it, for each kind of data."""

import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import IMAGE_INPUT, ImageInput
from rockstar_contract.preprocessing import (
    Centre,
    CentreOnCell,
    Colour,
    CropToContent,
    Fit,
    Grey,
    InvertIfLight,
    IsolateStrokes,
    Resize,
    Scale,
    Step,
    StretchContrast,
    SuppressBackground,
    SuppressBorder,
    TrimFrame,
    preprocess,
)
from rockstar_training.errors import ConfigError

# What most networks of keras.applications were trained on.
_PRETRAINED_SIZE = 224

# Light on dark, with as much contrast as there is, whatever it was drawn with.
_LIGHT_ON_DARK = (Grey(), Scale(), StretchContrast(), InvertIfLight())
# Of photographs, which are larger images, only the strokes are of interest.
_STROKES = (
    Grey(),
    IsolateStrokes(small=64),
    Scale(),
    StretchContrast(),
    TrimFrame(share=0.2),
    InvertIfLight(),
)


def known_input(name: str) -> ImageInput:
    """What models of a known set of images take: "digits", "mnist" or "fashion_mnist"."""
    return _KNOWN[name]()


def prepare_images(images: NDArray[np.uint8], spec: ImageInput) -> NDArray[np.float32]:
    """Raw images, uint8 [n, h, w, c], to tensors, float32 [n, *spec.shape]."""
    return np.stack([preprocess(image, spec.preprocessing) for image in images])


def digits_input() -> ImageInput:
    """20 x 20: 16 cells high or wide, the centre of mass in the middle, whatever was written with.

    The crop's threshold lies between two of the sixteen shades, so that a little more or less
    contrast does not move the box.
    """
    return _input(
        20,
        1,
        *_STROKES,
        SuppressBackground(level=0.25),
        CropToContent(threshold=0.13),
        Fit(height=16, width=16),
        Centre(height=20, width=20),
    )


def mnist_input() -> ImageInput:
    """28 x 28 as MNIST has it: 20 cells high or wide, the centre of mass in cell [14, 14].

    MNIST's own images come out as they were, up to 0.02 in a few cells; photographs of ink on
    paper and drawings of any size become like them. The background's level is taken from the
    border, which is black in MNIST and grainy on paper.
    """
    return _input(
        28,
        1,
        *_STROKES,
        SuppressBorder(quantile=0.95, factor=1.3, limit=0.6),
        CropToContent(threshold=0.1),
        Fit(height=20, width=20),
        CentreOnCell(height=28, width=28),
    )


def fashion_mnist_input() -> ImageInput:
    """28 x 28, light on dark; what has another aspect keeps it and gets a dark margin."""
    return _input(
        28, 1, *_LIGHT_ON_DARK, Fit(height=28, width=28), CentreOnCell(height=28, width=28)
    )


def folder_input(size: int, channels: int) -> ImageInput:
    """Size x size, grey or colour, whatever that does to the aspect."""
    return _input(
        size,
        channels,
        Grey() if channels == 1 else Colour(),
        Scale(),
        Resize(height=size, width=size),
    )


def pretrained_size(pretrained: str | None) -> int | None:
    """The side of images that suits a pretrained backbone, read without TensorFlow.

    Args:
        pretrained: a .keras file or the name of a network; None is no backbone and has no size.

    Raises:
        ConfigError: no such file, or not a .keras file.
    """
    if pretrained is None or not pretrained.endswith(".keras"):
        return _PRETRAINED_SIZE if pretrained else None
    path = Path(pretrained).expanduser()
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read("config.json"))
    except FileNotFoundError as error:
        raise ConfigError(f"pretrained: no such file: {path}") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"pretrained: expected a model saved by Keras 3 as .keras, {path} is something else"
        ) from error
    try:
        shape = document["config"]["layers"][0]["config"]["batch_shape"]
        return int(min(shape[1:3]))
    except (KeyError, IndexError, TypeError):  # any size, or another kind of model
        return _PRETRAINED_SIZE


def _input(size: int, channels: int, *steps: Step) -> ImageInput:
    return ImageInput(
        name=IMAGE_INPUT,
        dtype="float32",
        shape=(size, size, channels),
        range=(0.0, 1.0),
        preprocessing=steps,
    )


_KNOWN = {"digits": digits_input, "mnist": mnist_input, "fashion_mnist": fashion_mnist_input}
