"""Decimals that stand for float32 numbers, as TensorFlow Serving writes them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Powers of ten that doubles hold exactly.
_POWERS = 10.0 ** np.arange(23)
# Fewer values are faster one by one.
_FEW = 48


def decimals(values: NDArray[Any]) -> NDArray[np.float64]:
    """Doubles that print as 0.2, not as 0.20000000298023224, and read back as the same float32.

    As TensorFlow Serving writes numbers: six digits where they suffice, else nine.

    Args:
        values: of dtype float32.
    """
    if values.size < _FEW:
        few = [_written(value) for value in values.ravel().tolist()]
        return np.array(few, dtype=np.float64).reshape(values.shape)
    # A signaling NaN raises the invalid flag in every operation.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exact = values.astype(np.float64).ravel()
        exponents = np.floor(np.log10(np.abs(exact)))
        usual = (exponents >= 8 - 22) & (exponents <= 5 + 22)  # neither 0 nor NaN nor infinite
        powers = np.where(usual, exponents, 0).astype(np.int64)
        short = _rounded(exact, 5 - powers)
        lossy = short.astype(np.float32) != values.ravel()
        short[lossy] = _rounded(exact[lossy], 8 - powers[lossy])
    for index in np.flatnonzero(~usual & np.isfinite(exact) & (exact != 0)):
        short[index] = _written(float(exact[index]))
    return short.reshape(values.shape)


def _rounded(values: NDArray[np.float64], digits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values rounded to so many digits after the point, or, where negative, before it."""
    up, down = _POWERS[np.maximum(digits, 0)], _POWERS[np.maximum(-digits, 0)]
    rounded: NDArray[np.float64] = np.rint(values * up / down) / up * down
    return rounded


def _written(value: float) -> float:
    short = float(f"{value:.6g}")
    return short if np.float32(short) == value else float(f"{value:.9g}")
