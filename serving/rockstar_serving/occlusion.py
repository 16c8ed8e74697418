"""Which pixels made an answer: cover a part of the image and see what becomes of the probability.

The method is that of Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks"
(2014). It asks nothing of a model but predictions, so it works with any.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A window's side, as a share of the image's shorter side.
_WINDOW = 0.2


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
        """The image itself, then one copy for each window, in which that one is covered.

        Args:
            image: float32 [h, w, c].

        Returns:
            float32 [1 + windows, h, w, c]. The cover is the median of the image's border: paper,
            sky or whatever the object lies on.
        """
        corners = self.corners
        images = np.repeat(image[np.newaxis], 1 + len(corners), axis=0)
        cover = _background(image)
        for copy, (top, left) in zip(images[1:], corners, strict=True):
            copy[top : top + self.window, left : left + self.window] = cover
        return images

    def heatmap(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """How much each pixel spoke for an answer.

        Args:
            scores: float [1 + windows], of the images above.

        Returns:
            float64 [h, w]: by how much the score falls when the pixel is covered, the mean over the
            windows that cover it. Negative where it rises: the pixel spoke against the answer.
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
    """The finest grid of windows that makes at most so many images; one window at least.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        images: how many images the model may be asked, the whole one among them.
    """
    window = max(1, round(min(height, width) * _WINDOW))
    stride = 1
    # Windows grow with the stride where they would leave pixels between them.
    while (occlusion := Occlusion(height, width, max(window, stride), stride)).count > images - 1:
        if occlusion.count == 1:
            break
        stride += 1
    return occlusion


def _background(image: NDArray[np.float32]) -> NDArray[np.float32]:
    border = [image[0], image[-1], image[1:-1, 0], image[1:-1, -1]]
    median: NDArray[np.float32] = np.median(np.concatenate(border), axis=0)
    return median.astype(np.float32)
