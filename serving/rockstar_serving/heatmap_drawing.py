"""A heat map over the image that it is of, as a PNG."""

import io
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Longer side of the picture, in pixels, at least; so small images become large pixels.
_SIDE = 336
# Spoke for the answer, spoke against it: orange and blue, told apart by the colour blind too.
_FOR = np.array([255, 140, 0])
_AGAINST = np.array([30, 110, 255])
_STRONGEST = 0.85


def draw(
    image: NDArray[np.float32], heatmap: NDArray[Any], value_range: tuple[float, float]
) -> bytes:
    """Lay a heat map over an image.

    Args:
        image: float32 [h, w, c], one channel or three; more are shown as their mean.
        heatmap: float [h, w]; positive is drawn orange, negative blue, strongest for the largest.
        value_range: what black and white are in the image.

    Returns:
        A PNG, RGB.
    """
    height, width = heatmap.shape
    factor = max(1, ceil(_SIDE / max(height, width)))
    size = width * factor, height * factor
    below = Image.fromarray(_grey(image, value_range)).resize(size, Image.Resampling.NEAREST)
    largest = np.abs(heatmap).max()
    strength = np.abs(heatmap) / largest if largest > 0 else np.zeros_like(heatmap)
    alpha = Image.fromarray((strength * _STRONGEST * 255).astype(np.uint8))
    colours = np.where(heatmap[..., np.newaxis] >= 0, _FOR, _AGAINST).astype(np.uint8)
    picture = Image.composite(
        Image.fromarray(colours).resize(size, Image.Resampling.NEAREST),
        below.convert("RGB"),
        alpha.resize(size, Image.Resampling.BILINEAR),
    )
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _grey(image: NDArray[np.float32], value_range: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = value_range
    shares = np.clip((image.mean(axis=2) - low) / (high - low), 0, 1)
    grey: NDArray[np.uint8] = np.round(shares * 255).astype(np.uint8)
    return grey
