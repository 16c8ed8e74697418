"""Where in a picture lies what spoke for an answer, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

# Of a grid of three by three, row by row.
_PLACES = (
    *("top left", "top", "top right"),
    *("left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)
# Places are named until they hold this share of the evidence, and so many at most.
_ENOUGH, _MOST = 0.5, 3


@dataclass(frozen=True)
class Place:
    """A part of the picture, and its share of all that spoke for the answer, from 0 to 1."""

    where: str
    share: float


def places(heatmap: Sequence[Sequence[float]]) -> list[Place]:
    """The parts that hold at least half of the evidence, the strongest first.

    Args:
        heatmap: by how much each pixel spoke for the answer, row by row; what spoke against it
            (negative) does not count.

    Returns:
        None where nothing spoke for it.
    """
    sums = [0.0] * len(_PLACES)
    height, width = len(heatmap), len(heatmap[0])
    for row, values in enumerate(heatmap):
        for column, value in enumerate(values):
            sums[3 * (3 * row // height) + 3 * column // width] += max(0.0, value)
    total = sum(sums)
    if total <= 0:
        return []
    ranked = sorted(zip(_PLACES, sums, strict=True), key=lambda place: -place[1])
    found: list[Place] = []
    for where, mass in ranked[:_MOST]:
        found.append(Place(where, mass / total))
        if sum(place.share for place in found) >= _ENOUGH:
            break
    return found
