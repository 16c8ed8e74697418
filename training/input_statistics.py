"""What the training examples are like, as the contract tells: what drift is measured against."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import ImageInput, Input, Statistics, TargetStatistics

HISTOGRAM_BINS = 10


def input_statistics(
    tensors: NDArray[np.float32], targets: NDArray[Any], classes: int, wanted: Input
) -> Statistics:
    """What the training examples are like.

    Args:
        tensors: float32 [n, *shape of one example], all or a sample.
        targets: of all training examples: int64 labels, or float32 values of a regression.
        classes: how many labels there are; 0 for a regression.
        wanted: an image's range is the histogram's.
    """
    low, high = float(tensors.min()), float(tensors.max())
    bounds = wanted.range if isinstance(wanted, ImageInput) else (low, high)
    counts, _ = np.histogram(tensors, bins=HISTOGRAM_BINS, range=bounds)
    shares = np.bincount(targets, minlength=classes) / len(targets) if classes else np.empty(0)
    return Statistics(
        examples=len(tensors),
        mean=float(tensors.mean(dtype=np.float64)),
        std=float(tensors.std(dtype=np.float64)),
        minimum=low,
        maximum=high,
        histogram=tuple((counts / tensors.size).tolist()),
        label_share=tuple(shares.tolist()),
        target=None if classes else _target_statistics(targets),
    )


def _target_statistics(targets: NDArray[Any]) -> TargetStatistics:
    values = targets.astype(np.float64)
    return TargetStatistics(
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )
