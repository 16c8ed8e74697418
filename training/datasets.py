"""Labelled images to train and test on. Imports without TensorFlow.

The images of the held-out split can be sent to a running service, to compare what it answers with
what training measured.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images.

    Attributes:
        name: what `load` knows it by.
        images: uint8 [n, h, w, c], light on dark.
        labels: int64 [n], indices into the names.
        label_names: of the classes, in order.
        sha256: over images and labels, hexadecimal.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, eq=False)
class Split:
    """Which images are trained on and which are held out: int64 indices, ascending."""

    train_index: NDArray[np.int64]
    test_index: NDArray[np.int64]


def load(name: str) -> Dataset:
    """Load a data set.

    Raises:
        DataError: not a known name.
    """
    if name not in _LOADERS:
        raise DataError(f"no data set {name!r}; known are: {', '.join(_LOADERS)}")
    return _LOADERS[name]()


def split(dataset: Dataset, fraction: float, seed: int) -> Split:
    """Hold a share of the images out, the same share of every label; repeatable by its seed.

    Args:
        dataset: what to split.
        fraction: share that is held out, between 0 and 1.
        seed: the same one gives the same split.

    Raises:
        DataError: one side would not have every label.
    """
    from sklearn.model_selection import train_test_split

    try:
        train_index, test_index = train_test_split(
            np.arange(len(dataset.labels), dtype=np.int64),
            test_size=fraction,
            stratify=dataset.labels,
            random_state=seed,
        )
    except ValueError as error:
        raise DataError(f"cannot hold {fraction:g} of {dataset.name} out: {error}") from error
    return Split(np.sort(train_index), np.sort(test_index))


def _digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    names = tuple(str(name) for name in digits.target_names)
    return _dataset("digits", images, digits.target, names)


def _dataset(
    name: str, images: NDArray[np.uint8], labels: NDArray[np.int64], names: tuple[str, ...]
) -> Dataset:
    images, labels = np.ascontiguousarray(images), labels.astype(np.int64)
    digest = hashlib.sha256(images.tobytes())
    # Little-endian on every machine, so that the hash is the same everywhere.
    digest.update(labels.astype("<i8").tobytes())
    return Dataset(name, images, labels, names, digest.hexdigest())


_LOADERS: dict[str, Callable[[], Dataset]] = {"digits": _digits}
