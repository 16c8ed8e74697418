"""MNIST and Fashion-MNIST: from a local file where there is one, else through Keras."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

DATA_DIR_VARIABLE = "ROCKSTAR_DATA_DIR"
LABEL_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_SHAPE = (28, 28)

# x_train, y_train, x_test, y_test.
Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def load_arrays(
    name: str, data_dir: Path | None = None, download: Callable[[str], Arrays] | None = None
) -> Arrays:
    """The images, uint8 [n, 28, 28], and labels, int64 [n], of the training and the test split.

    Args:
        name: one of LABEL_NAMES.
        data_dir: where <name>.npz may lie; None looks in $ROCKSTAR_DATA_DIR.
        download: what to ask where it does not; None asks Keras, which keeps what it downloads.

    Raises:
        DataError: nowhere to be had, or not what it should be.
    """
    found = os.environ.get(DATA_DIR_VARIABLE)
    folder = data_dir or (Path(found) if found else None)
    if folder is not None and (folder / f"{name}.npz").is_file():
        path = folder / f"{name}.npz"
        return _checked(_read(path), name, str(path))
    try:
        arrays = (download or _through_keras)(name)
    except Exception as error:  # Keras raises plain ones
        looked = f"{name}.npz is not in {folder}" if folder else f"{DATA_DIR_VARIABLE} is not set"
        raise DataError(
            f"no data set {name}: {looked}, and Keras cannot download it ({_short(error)}); "
            f"connect to the internet, or put {name}.npz (arrays {', '.join(_ARRAYS)}) into a "
            f"folder and name that: --data-dir DIR or {DATA_DIR_VARIABLE}=DIR"
        ) from error
    return _checked(arrays, name, "what Keras downloaded")


def _read(path: Path) -> Arrays:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            first, second, third, fourth = (arrays[key] for key in _ARRAYS)
    except KeyError as error:
        raise DataError(
            f"{path} has no array {_short(error)}; expected {', '.join(_ARRAYS)}"
        ) from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {_short(error)}; expected an .npz file with the arrays "
            f"{', '.join(_ARRAYS)}"
        ) from error
    return first, second, third, fourth


def _through_keras(name: str) -> Arrays:
    from training.tensorflow_setup import keras

    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    return x_train, y_train, x_test, y_test


def _checked(arrays: Arrays, name: str, place: str) -> Arrays:
    classes = len(LABEL_NAMES[name])
    checked = []
    for split, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        if images.dtype != np.uint8 or images.shape[1:] != _SHAPE or not len(images):
            raise DataError(
                f"x_{split} in {place}: expected uint8 of shape [n, 28, 28], got {images.dtype} of "
                f"shape {list(images.shape)}"
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise DataError(
                f"y_{split} in {place}: expected integers of shape [{len(images)}], got "
                f"{labels.dtype} of shape {list(labels.shape)}"
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(
                f"y_{split} in {place}: expected labels 0 to {classes - 1}, got {labels.min()} to "
                f"{labels.max()}"
            )
        checked += [images, labels.astype(np.int64)]
    x_train, y_train, x_test, y_test = checked
    return x_train, y_train, x_test, y_test


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
