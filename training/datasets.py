"""Known sets of labelled images to train and test on. Imports without TensorFlow.

The images of the held-out split can be sent to a running service, to compare what it answers with
what training measured.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.known_images import LABEL_NAMES, load_arrays


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
