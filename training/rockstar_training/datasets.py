"""Known sets of labeled images, with their preprocessing: digits, MNIST and Fashion-MNIST.

The digits are bundled with scikit-learn. MNIST and Fashion-MNIST are read from a local file, or
downloaded by Keras, which is the only use of TensorFlow here.
"""

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract import preprocessing as steps
from rockstar_contract.contract import IMAGE_INPUT, ImageInput
from rockstar_training.errors import DataError
from rockstar_training.splits import Fractions, Split, split_labeled

DATA_DIR_VARIABLE = "ROCKSTAR_DATA_DIR"
_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
LABEL_NAMES = {"mnist": tuple("0123456789"), "fashion_mnist": tuple(_CLOTHES.split(","))}
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_SHAPE = (28, 28)
# Images that are preprocessed at once: more take longer, because of the memory.
_CHUNK = 4096

# Photographs are larger: their strokes are isolated first.
_STROKES = (
    steps.Grey(),
    steps.IsolateStrokes(small=64),
    steps.Scale(),
    steps.StretchContrast(),
    steps.TrimFrame(share=0.2),
    steps.InvertIfLight(),
)

# x_train, y_train, x_test, y_test.
Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images."""

    name: str
    images: NDArray[np.uint8]  # [n, h, w, c], light on dark
    labels: NDArray[np.int64]  # [n], indices into the names
    label_names: tuple[str, ...]
    sha256: str  # of images and labels, hexadecimal
    test_count: int = 0  # size of its own test split at the end; 0 without one

    def split(self, fractions: Fractions) -> Split:
        """Split the images as `split_labeled` does; its own test split is kept."""
        given, count = None, len(self.labels) - self.test_count
        if self.test_count:
            every = np.arange(len(self.labels), dtype=np.int64)
            given = Split(every[:count], np.empty(0, np.int64), every[count:])
        return split_labeled(self.labels, fractions, self.name, given)


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Load "digits", "mnist" or "fashion_mnist", as `load_arrays` does; raises DataError."""
    if name not in _INPUTS:
        raise DataError(f"no data set {name!r}; known are: {', '.join(_INPUTS)}")
    if name == "digits":  # 1,797 handwritten digits of 8 x 8 pixels
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
        labels, test_count = digits.target, 0
        names = tuple(str(name) for name in digits.target_names)
    else:  # 70,000 images of 28 x 28 pixels, the last 10,000 for testing
        x_train, y_train, x_test, y_test = load_arrays(name, data_dir)
        images = np.concatenate([x_train, x_test])[..., np.newaxis]
        labels, test_count = np.concatenate([y_train, y_test]), len(x_test)
        names = LABEL_NAMES[name]
    images, labels = np.ascontiguousarray(images), labels.astype(np.int64)
    digest = hashlib.sha256(images.tobytes())
    # Little-endian, so that the hash is the same on every machine.
    digest.update(labels.astype("<i8").tobytes())
    return Dataset(name, images, labels, names, digest.hexdigest(), test_count)


def load_arrays(name: str, data_dir: Path | None = None) -> Arrays:
    """Load images, uint8 [n, 28, 28], and labels, int64 [n], of the training and the test split.

    They are in <name>.npz of `data_dir` or $ROCKSTAR_DATA_DIR. Without the file, Keras downloads
    and caches them. Raises a DataError if they are not available or invalid.
    """
    found = os.environ.get(DATA_DIR_VARIABLE)
    folder = data_dir or (Path(found) if found else None)
    if folder is not None and (folder / f"{name}.npz").is_file():
        path = folder / f"{name}.npz"
        return _checked(_read(path), name, str(path))
    try:
        from rockstar_training.tensorflow_setup import keras

        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises plain Exceptions
        looked = f"{name}.npz is not in {folder}" if folder else f"{DATA_DIR_VARIABLE} is not set"
        raise DataError(
            f"no data set {name}: {looked}, and Keras cannot download it ({_short(error)}); "
            f"connect to the internet, or put {name}.npz (arrays {', '.join(_ARRAYS)}) into a "
            f"folder and name that: --data-dir DIR or {DATA_DIR_VARIABLE}=DIR"
        ) from error
    return _checked((x_train, y_train, x_test, y_test), name, "what Keras downloaded")


def _read(path: Path) -> Arrays:
    expected = f"expected an .npz file with the arrays {', '.join(_ARRAYS)}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            first, second, third, fourth = (arrays[key] for key in _ARRAYS)
    except KeyError as error:
        raise DataError(f"{path} has no array {_short(error)}; {expected}") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {_short(error)}; {expected}") from error
    return first, second, third, fourth


def _checked(arrays: Arrays, name: str, place: str) -> Arrays:
    x_train, y_train, x_test, y_test = arrays
    most = len(LABEL_NAMES[name]) - 1
    for split, images, labels in (("train", x_train, y_train), ("test", x_test, y_test)):
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
        if labels.min() < 0 or labels.max() > most:
            raise DataError(
                f"y_{split} in {place}: expected labels 0 to {most}, got {labels.min()} to "
                f"{labels.max()}"
            )
    return x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def known_input(name: str) -> ImageInput:
    """Return the model input for a known set: "digits", "mnist" or "fashion_mnist"."""
    return _INPUTS[name]()


def prepare_images(images: NDArray[np.uint8], spec: ImageInput) -> NDArray[np.float32]:
    """Preprocess images, uint8 [n, h, w, c], to tensors, float32 [n, *spec.shape]."""
    chunks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
    return np.concatenate([steps.preprocess_all(chunk, spec.preprocessing) for chunk in chunks])


def digits_input() -> ImageInput:
    """Return a 20 x 20 input: digits 16 cells high or wide, the center of mass in the middle.

    The crop's threshold lies between two of the sixteen shades, so that small differences in
    contrast do not move the box.
    """
    return image_input(
        (20, 20, 1),
        *_STROKES,
        steps.SuppressBackground(level=0.25),
        steps.CropToContent(threshold=0.13),
        steps.Fit(height=16, width=16),
        steps.Centre(height=20, width=20),
    )


def mnist_input() -> ImageInput:
    """Return a 28 x 28 input like MNIST: 20 cells high or wide, center of mass in cell [14, 14].

    It leaves MNIST's own images unchanged, except for up to 0.02 in a few cells, and makes
    photographs of ink on paper and drawings of any size similar to them. The background's level is
    measured at the border, which is black in MNIST and grainy on paper.
    """
    return image_input(
        (28, 28, 1),
        *_STROKES,
        steps.SuppressBorder(quantile=0.95, factor=1.3, limit=0.6),
        steps.CropToContent(threshold=0.1),
        steps.Fit(height=20, width=20),
        steps.CentreOnCell(height=28, width=28),
    )


def fashion_mnist_input() -> ImageInput:
    """Return a 28 x 28 input, light on dark, with a dark margin around other aspect ratios."""
    light_on_dark = (steps.Grey(), steps.Scale(), steps.StretchContrast(), steps.InvertIfLight())
    size = {"height": 28, "width": 28}
    return image_input((28, 28, 1), *light_on_dark, steps.Fit(**size), steps.CentreOnCell(**size))


def image_input(shape: tuple[int, int, int], *preprocessing: steps.Step) -> ImageInput:
    """Return an image input, [h, w, c], with values from 0 to 1 and these preprocessing steps."""
    return ImageInput(
        name=IMAGE_INPUT,
        dtype="float32",
        shape=shape,
        range=(0.0, 1.0),
        preprocessing=preprocessing,
    )


_INPUTS = {"digits": digits_input, "mnist": mnist_input, "fashion_mnist": fashion_mnist_input}
