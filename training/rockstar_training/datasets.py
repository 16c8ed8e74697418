"""Labelled images to train and test on: the bundled digits, MNIST and Fashion-MNIST.

Imports without TensorFlow. MNIST and Fashion-MNIST come from a local file, or else through Keras.
"""

import hashlib
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_training.errors import DataError

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
    from rockstar_training.tensorflow_setup import keras

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


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images.

    Attributes:
        name: what `load` knows it by.
        images: uint8 [n, h, w, c], light on dark.
        labels: int64 [n], indices into the names.
        label_names: of the classes, in order.
        sha256: over images and labels, hexadecimal.
        test_count: how many at the end are its own test split; 0 where it has none.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    sha256: str
    test_count: int = 0


@dataclass(frozen=True, eq=False)
class Split:
    """Which images are trained on and which are held out: int64 indices, ascending.

    Where no test images, or None for validation images, are decided yet, they come out of those to
    train on.
    """

    train_index: NDArray[np.int64]
    test_index: NDArray[np.int64]
    validation_index: NDArray[np.int64] | None = None


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Load a data set.

    Args:
        name: "digits", "mnist" or "fashion_mnist".
        data_dir: where the files of those that are not bundled may lie; None looks in
            $ROCKSTAR_DATA_DIR.

    Raises:
        DataError: not a known name, or its data is nowhere to be had.
    """
    if name not in _LOADERS:
        raise DataError(f"no data set {name!r}; known are: {', '.join(_LOADERS)}")
    return _LOADERS[name](data_dir)


def split(dataset: Dataset, fraction: float, seed: int) -> Split:
    """Hold a share of the images out, the same share of every label; repeatable by its seed.

    A data set with a test split of its own keeps that, whatever fraction and seed.

    Args:
        dataset: what to split.
        fraction: share that is held out, between 0 and 1.
        seed: the same one gives the same split.

    Raises:
        DataError: one side would not have every label.
    """
    every = np.arange(len(dataset.labels), dtype=np.int64)
    if dataset.test_count:
        return Split(every[: -dataset.test_count], every[-dataset.test_count :])
    kept, held_out = hold_out(every, dataset.labels, fraction, seed, dataset.name)
    return Split(kept, held_out)


def hold_out(
    index: NDArray[np.int64],
    labels: NDArray[Any] | None,
    fraction: float,
    seed: int,
    name: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part examples in two.

    The second side has room for every label that has two or more examples; the only example of a
    label stays on the first side.

    Args:
        index: int64 [n], which examples.
        labels: int64 [n], theirs, of which both sides get about the same share; None does without.
        fraction: share of the second side, between 0 and 1.
        seed: the same one gives the same sides.
        name: what errors call the examples.

    Returns:
        Both sides, ascending.

    Raises:
        DataError: there are too few examples for two sides.
    """
    from sklearn.model_selection import train_test_split

    size: float | int = fraction
    alone = np.empty(0, dtype=np.int64)
    if labels is not None:
        _, label_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
        single = counts[label_of] == 1
        alone, index, labels = index[single], index[~single], labels[~single]
        several = int((counts > 1).sum())
        # Rounded up, as scikit-learn does.
        size = max(math.ceil(fraction * len(index)), several)
        size = min(size, max(several, len(index) - several))
    try:
        kept, held_out = train_test_split(index, test_size=size, stratify=labels, random_state=seed)
    except ValueError as error:
        total = len(alone) + len(index)
        raise DataError(
            f"cannot hold {fraction:g} of {name} out, which has {total} examples to divide; "
            + ("a regression needs two" if labels is None else "each label needs two or more")
        ) from error
    return np.sort(np.concatenate([kept, alone])), np.sort(held_out)


def _digits(_data_dir: Path | None) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    names = tuple(str(name) for name in digits.target_names)
    return _dataset("digits", images, digits.target, names)


def _mnist(data_dir: Path | None) -> Dataset:
    """70,000 handwritten digits of 28 x 28 pixels, the last 10,000 for testing."""
    return _known("mnist", data_dir)


def _fashion_mnist(data_dir: Path | None) -> Dataset:
    """70,000 pieces of clothing of 28 x 28 pixels, the last 10,000 for testing."""
    return _known("fashion_mnist", data_dir)


def _known(name: str, data_dir: Path | None) -> Dataset:
    x_train, y_train, x_test, y_test = load_arrays(name, data_dir)
    images = np.concatenate([x_train, x_test])[..., np.newaxis]
    labels = np.concatenate([y_train, y_test])
    return _dataset(name, images, labels, LABEL_NAMES[name], len(x_test))


def _dataset(
    name: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    test_count: int = 0,
) -> Dataset:
    images, labels = np.ascontiguousarray(images), labels.astype(np.int64)
    digest = hashlib.sha256(images.tobytes())
    # Little-endian on every machine, so that the hash is the same everywhere.
    digest.update(labels.astype("<i8").tobytes())
    return Dataset(name, images, labels, names, digest.hexdigest(), test_count)


_LOADERS: dict[str, Callable[[Path | None], Dataset]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
}
