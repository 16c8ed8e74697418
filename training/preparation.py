"""Raw images to what a model takes, by the very steps that its contract tells servers."""

import numpy as np
from numpy.typing import NDArray

from serving.contract import Input, Statistics
from serving.preprocessing import (
    Centre,
    CropToContent,
    Fit,
    Grey,
    InvertIfLight,
    Scale,
    StretchContrast,
    SuppressBackground,
    preprocess,
)

HISTOGRAM_BINS = 10

# Whatever a digit is written with and however large, it comes out light on dark, 16 cells high or
# wide, its centre of mass in the middle of 20 x 20. The crop's threshold lies between two of the
# sixteen shades, so that a little more or less contrast does not move the box.
_DIGITS = Input(
    name="image",
    kind="image",
    dtype="float32",
    shape=(20, 20, 1),
    range=(0.0, 1.0),
    preprocessing=(
        Grey(),
        Scale(),
        StretchContrast(),
        InvertIfLight(),
        SuppressBackground(level=0.25),
        CropToContent(threshold=0.13),
        Fit(height=16, width=16),
        Centre(height=20, width=20),
    ),
)
_INPUTS = {"digits": _DIGITS}


def input_for(data: str) -> Input:
    """What models for a data set take, and the steps that lead to it."""
    return _INPUTS[data]


def prepare_images(images: NDArray[np.uint8], spec: Input) -> NDArray[np.float32]:
    """Raw images, uint8 [n, h, w, c], to tensors, float32 [n, *spec.shape]."""
    return np.stack([preprocess(image, spec.preprocessing) for image in images])


def statistics(
    tensors: NDArray[np.float32], labels: NDArray[np.int64], classes: int, spec: Input
) -> Statistics:
    """What the training inputs are like.

    Args:
        tensors: float32 [n, h, w, c].
        labels: int64 [n].
        classes: how many labels there are.
        spec: the range of the histogram is its range.
    """
    values = tensors.astype(np.float64)
    counts, _ = np.histogram(values, bins=HISTOGRAM_BINS, range=spec.range)
    shares = np.bincount(labels, minlength=classes) / len(labels)
    return Statistics(
        examples=len(tensors),
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        histogram=tuple((counts / values.size).tolist()),
        label_share=tuple(shares.tolist()),
    )
