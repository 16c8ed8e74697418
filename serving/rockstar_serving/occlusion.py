"""Occlusion: which pixels or columns led to a prediction.

Parts of an image are covered in turn, as in Zeiler and Fergus, "Visualizing and Understanding
Convolutional Networks" (2014). In a row of a table, each column in turn is replaced by its typical
value; effects of combinations of columns do not show. Both need only predictions, so they work with
any model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rockstar_contract.images import encode_png, to_levels
from rockstar_contract.tables import CategoricalColumn, Column, DateColumn

# A window's side, as a share of the image's shorter side.
_WINDOW = 0.2
# Minimum length of the picture's longer side, in pixels; small images are enlarged.
_SIDE = 336
# Orange for evidence, blue for evidence against it: color-blind people can tell them apart.
_FOR = np.array([255, 140, 0])
_AGAINST = np.array([30, 110, 255])
_STRONGEST = 0.85


@dataclass(frozen=True)
class Occlusion:
    """Windows that cover parts of an image.

    Attributes:
        height: of the image, in pixels.
        width: of the image, in pixels.
        window: side of a window, in pixels.
        stride: from one window to the next, in pixels; the last one ends at the image's edge.
    """

    height: int
    width: int
    window: int
    stride: int

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Top and left of each window, row by row."""
        return list(product(self._starts(self.height), self._starts(self.width)))

    @property
    def count(self) -> int:
        """How many windows there are."""
        return len(self._starts(self.height)) * len(self._starts(self.width))

    def images(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an image, and for each window a copy in which that window is covered.

        From float32 [h, w, c] to float32 [1 + windows, h, w, c]. The cover is the median color of
        the image's border, which is usually background.
        """
        corners = self.corners
        images = np.repeat(image[np.newaxis], 1 + len(corners), axis=0)
        border = [image[0], image[-1], image[1:-1, 0], image[1:-1, -1]]
        cover = np.median(np.concatenate(border), axis=0)
        for copy, (top, left) in zip(images[1:], corners, strict=True):
            copy[top : top + self.window, left : left + self.window] = cover
        return images

    def heatmap(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """The evidence of each pixel for a prediction, by the scores of `images`, [1 + windows].

        Returns float64 [h, w]: how much the score falls when the pixel is covered, averaged over
        the windows that cover it; negative if it rises.
        """
        total = np.zeros((self.height, self.width))
        covered = np.zeros((self.height, self.width))
        falls = float(scores[0]) - scores[1:].astype(np.float64)
        for fall, (top, left) in zip(falls, self.corners, strict=True):
            part = np.s_[top : top + self.window, left : left + self.window]
            total[part] += fall
            covered[part] += 1
        return total / covered

    def _starts(self, size: int) -> list[int]:
        last = max(0, size - self.window)
        return sorted({*range(0, last, self.stride), last})


def plan(height: int, width: int, images: int) -> Occlusion:
    """Choose the finest grid of windows for an image of `height` x `width` pixels, at least one.

    At most so many `images` are predicted, including the uncovered one.
    """
    window = max(1, round(min(height, width) * _WINDOW))
    stride = 1
    # Windows grow with the stride so that no pixel stays uncovered.
    while (occlusion := Occlusion(height, width, max(window, stride), stride)).count > images - 1:
        if occlusion.count == 1:
            break
        stride += 1
    return occlusion


def draw(
    image: NDArray[np.float32], heatmap: NDArray[Any], value_range: tuple[float, float]
) -> bytes:
    """Draw a heat map over an image.

    Args:
        image: float32 [h, w, c]; drawn in gray as the mean of its channels.
        heatmap: float [h, w]; positive is orange, negative blue, in proportion to the largest.
        value_range: values of black and white in the image.

    Returns:
        A PNG, RGB.
    """
    height, width = heatmap.shape
    factor = max(1, ceil(_SIDE / max(height, width)))
    size = width * factor, height * factor
    gray = to_levels(image.mean(axis=2), *value_range)
    below = Image.fromarray(gray).resize(size, Image.Resampling.NEAREST)
    largest = np.abs(heatmap).max()
    strength = np.abs(heatmap) / largest if largest > 0 else np.zeros_like(heatmap)
    alpha = Image.fromarray((strength * _STRONGEST * 255).astype(np.uint8))
    colors = np.where(heatmap[..., np.newaxis] >= 0, _FOR, _AGAINST).astype(np.uint8)
    picture = Image.composite(
        Image.fromarray(colors).resize(size, Image.Resampling.NEAREST),
        below.convert("RGB"),
        alpha.resize(size, Image.Resampling.BILINEAR),
    )
    return encode_png(np.asarray(picture))


def replaced_rows(tensor: NDArray[np.float32], columns: Sequence[Column]) -> NDArray[np.float32]:
    """Return a preprocessed row, and for each column a copy with that column's typical value.

    From float32 [width] to float32 [1 + columns, width].
    """
    rows = np.repeat(tensor[np.newaxis], 1 + len(columns), axis=0)
    place = 0
    for row, column in zip(rows[1:], columns, strict=True):
        if isinstance(column, CategoricalColumn):
            block = column.encode([column.fill])
        else:
            block = column.encode([column.mean])
        row[place : place + column.width] = block[0]
        place += column.width
    return rows


def typical_value(column: Column) -> float | str | None:
    """The replacement of a column: its mean in training, or its most frequent category.

    A date or time is text. None means no category, if the contract does not name the most frequent
    one.
    """
    if isinstance(column, DateColumn):
        return column.text(column.mean)
    return column.fill if isinstance(column, CategoricalColumn) else column.mean
