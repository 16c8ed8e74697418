"""Finds the strokes of one handwritten symbol in a photograph.

Photographs have uneven light, shadows, ruled or squared paper, frames, and a desk around the paper.
Strokes are narrow, differ from the paper next to them, and neither touch the border of the picture
nor run straight across it. Pure NumPy and Pillow, on a reduced copy, so that the size of the
photograph hardly matters.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# float32, or for sums float64.
Floats = NDArray[Any]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]

# Longer side of the reduced copy, in pixels.
_WORK = 240
# Maximum stroke width of a pen and of a marker, as a share of the shorter side.
_PEN, _WIDEST = 0.09, 0.2
# Minimum height or width of a symbol, as a share of the shorter side.
_SMALLEST = 0.06
# Minimum difference between ink and paper, as a share of the paper's brightness.
_FAINTEST = 0.06
# A symbol smaller than this in the reduced copy is searched again in a closer crop.
_NEAR = 70
# A symbol is not padded beyond this size: that of a line would be thousands of times as large.
_MAX_PADDED = 2**25
# Strokes thinner or thicker than these shares of the symbol are adapted.
_THIN, _THICK = 0.1, 0.2
# A symbol with wider strokes may be the space between strokes.
_BLOB = 0.25
# Angles at which lines are searched, in degrees from horizontal and vertical.
_ANGLES = np.arange(-20, 20.1, 0.75)


@dataclass(frozen=True, eq=False)
class Components:
    """Connected components of a mask; arrays are [components].

    Attributes:
        labels: int [h, w], index of the component; -1 outside the mask.
        mass: sum of the ink.
        area: number of pixels.
        boxes: int [components, 4]: first row and column, and the row and column after the last.
        contact: number of pixels on the border of the picture.
    """

    labels: NDArray[np.intp]
    mass: Floats
    area: Floats
    boxes: NDArray[np.intp]
    contact: Floats


@dataclass(frozen=True, eq=False)
class _Symbol:
    """A symbol: its ink in 0…1, its box in the reduced copy, and the copy's shape and reduction."""

    ink: Floats
    box: Box
    shape: tuple[int, ...]
    factor: float


def isolate_strokes(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut out the symbol in a photograph [h, w] and draw it light on black.

    Returns:
        uint8 [h', w'], strokes 255 with soft edges, background 0, with a black margin; [1, 1] and
        black if no symbol is found.
    """
    found = _find_symbol(gray)
    if found is None or _touches_border(found):
        padded = _pad(gray)
        again = None if padded is None else _find_symbol(padded)
        if padded is not None and again is not None:
            found, gray = again, padded
    if found is None:
        return np.zeros((1, 1), np.uint8)
    ink = found.ink
    if found.factor > 1.3 and max(ink.shape) < _NEAR:
        # Crop the original around the box, with half of its size on each side.
        top, left, bottom, right = (round(side * found.factor) for side in found.box)
        margin = max(bottom - top, right - left) // 2
        rows = slice(max(0, top - margin), bottom + margin)
        columns = slice(max(0, left - margin), right + margin)
        nearer = _find_symbol(gray[rows, columns])
        ink = ink if nearer is None else nearer.ink
    # A straight 1 fills its box. Most of the result must be background, which later steps would
    # otherwise mistake for a frame.
    margin = 2 + max(ink.shape) // 4
    return np.asarray(np.pad(_normalize_width(ink) * 255, margin), np.uint8)


def _pad(gray: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Add a margin around a tightly cropped symbol; None if the border is uneven."""
    margin = max(gray.shape) // 5
    if (gray.shape[0] + 2 * margin) * (gray.shape[1] + 2 * margin) > _MAX_PADDED:
        return None
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    tone = int(np.median(border))
    if np.mean(np.abs(border.astype(np.int16) - tone) < 20) < 0.4:
        return None
    return np.pad(gray, margin, constant_values=tone)


def _find_symbol(gray: NDArray[np.uint8]) -> _Symbol | None:
    """Find the symbol in a reduced copy."""
    factor = max(1.0, max(gray.shape) / _WORK)
    image = Image.fromarray(gray)
    if factor > 1:
        size = (max(1, round(gray.shape[1] / factor)), max(1, round(gray.shape[0] / factor)))
        image = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    light = _mean(np.asarray(image, np.float32), 3)
    dark = _is_dark_on_light(light)
    found = _find_strokes(light, factor, dark=dark)
    if found is None or _stroke_width(found.ink) > _BLOB * max(found.ink.shape):
        # The paper inside a 0 drawn with a marker looks like a symbol, too.
        other = _find_strokes(light, factor, dark=not dark)
        if other and (found is None or _contains(other.box, found.box)):
            found = other
    return found


def _find_strokes(light: Floats, factor: float, *, dark: bool) -> _Symbol | None:
    """Find the symbol whose strokes are darker, or lighter, than the paper."""
    # Narrow strokes stand out despite shadows; those of a marker only in a wide window.
    narrow, wide = (_ink(light, share, dark=dark) for share in (_PEN, _WIDEST))
    floor = _floor(narrow)
    for transposed in (False, True):
        marked = narrow > floor
        lines, thickest = _level_lines(marked.T if transposed else marked)
        if lines is not None:
            on = lines.T if transposed else lines
            axis = 1 if transposed else 0
            narrow, wide = (_remove_lines(each, on, thickest, axis) for each in (narrow, wide))
    found = _components(narrow > floor, narrow)
    chosen = _choose(found)
    sample = wide[np.isin(found.labels, chosen)] if chosen.size else wide
    contrast = float(np.quantile(sample, 0.8 if chosen.size else 0.995))
    level = max(floor, 0.2 * contrast)
    ink = np.maximum(narrow, wide)
    strong = wide > 0.65 * contrast
    if strong.any() and narrow[strong].mean() < 0.6 * wide[strong].mean():
        # Shows the faint parts of wide strokes; for other strokes it would show shadows, too.
        strong = wide > max(level, 0.4 * contrast)
    found = _components((narrow > level) | (strong & (wide > floor)), ink)
    chosen = _choose(found)
    if not chosen.size:
        return None
    cut, box = _cut(ink, found, chosen, level)
    return _Symbol(cut, box, light.shape, factor)


def _is_dark_on_light(light: Floats) -> bool:
    """Whether strokes, the smaller part near the middle, are darker than the paper."""
    rest = light - _mean(light, round(min(light.shape) * 0.3) | 1)
    down, across = (np.sin(np.linspace(0, np.pi, side)) ** 2 for side in light.shape)
    # `rest**3` takes ten times as long for negative values.
    return float((rest * rest * rest * down[:, np.newaxis] * across).sum()) <= 0


def _ink(light: Floats, share: float, *, dark: bool) -> Floats:
    """The contrast to the paper around, 0…1, of strokes up to a width."""
    window = max(5, round(min(light.shape) * share)) | 1
    if dark:
        paper = _closed(light, window, np.maximum, np.minimum)
        return 1 - light / np.maximum(paper, 1)
    return (light - _closed(light, window, np.minimum, np.maximum)) / 255


def _floor(ink: Floats) -> float:
    """The maximum ink of grain and noise."""
    less, usual, more, much = np.quantile(ink, (0.3, 0.5, 0.6, 0.8))
    return max(_FAINTEST, float(usual + min(3.5 * (much - usual), 6 * (more - less))))


def _level_lines(mask: Mask) -> tuple[Mask | None, int]:
    """Mark lines from side to side, up to 20 degrees off horizontal, and their maximum width."""
    height, width = mask.shape
    thickest = max(4, round(0.025 * height))
    half = np.pad(mask, ((0, height % 2), (0, width % 2)))
    half = half[::2, ::2] | half[1::2, ::2] | half[::2, 1::2] | half[1::2, 1::2]
    angle = _best_angle(half, _ANGLES, max(3, thickest // 2 + 1))
    if angle is not None:
        angle = _best_angle(mask, angle + np.arange(-0.75, 0.8, 0.25), thickest)
    if angle is None:
        return None, thickest
    rows = _bands(_shares(mask, np.array([angle]))[0], thickest)
    marked = np.zeros(height, bool)
    for by in (-1, 0, 1):
        marked[np.clip(rows + by, 0, height - 1)] = True
    place = np.arange(height)[:, np.newaxis] - _shifts(width, np.array([angle]))[0]
    return (place >= 0) & (place < height) & marked[place.clip(0, height - 1)], thickest


def _best_angle(mask: Mask, angles: NDArray[np.float64], thickest: int) -> float | None:
    """The angle in degrees at which most rows are lines; None if there are no lines."""
    best, found = 0.0, None
    for angle, share in zip(angles, _shares(mask, angles), strict=True):
        rows = _bands(share, thickest) if share.max() > 0.5 else ()
        score = float(((share[rows] - 0.4) ** 2).sum()) if len(rows) else 0.0
        if score > best:
            best, found = score, float(angle)
    return found


def _shares(mask: Mask, angles: NDArray[np.float64]) -> Floats:
    """The share of ink in each row after shearing the picture by an angle: [angles, rows]."""
    height, width = mask.shape
    shifts = _shifts(width, angles)
    rows, columns = mask.nonzero()
    ink = _counts(rows - shifts[:, columns], height)
    # A column covers the rows from -shift to height - shift.
    starts, ends = (_counts(np.clip(end - shifts, 0, height), height + 1) for end in (0, height))
    covered = np.cumsum(starts - ends, axis=1)[:, :height]
    return np.asarray(ink / np.maximum(covered, width // 2), np.float32)


def _counts(places: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The number of times that each row of `places` has 0, 1, … size - 1: [rows, size]."""
    inside = (places >= 0) & (places < size)
    flat = places + np.arange(len(places))[:, np.newaxis] * size
    return np.bincount(flat[inside], minlength=len(places) * size).reshape(-1, size)


def _shifts(width: int, angles: NDArray[np.float64]) -> NDArray[np.intp]:
    """The shift of each column: [angles, columns]."""
    slopes = np.tan(np.radians(angles))[:, np.newaxis]
    return np.asarray(np.rint(slopes * (np.arange(width) - width / 2)), np.intp)


def _bands(share: Floats, thickest: int) -> NDArray[np.intp]:
    """Rows of lines: nearly all ink, or half if there are several parallel lines."""
    half = _narrow(share > 0.5, thickest)
    starts = np.count_nonzero(half[1:] & ~half[:-1])
    return np.flatnonzero(half if starts >= 3 else _narrow(share > 0.85, thickest))


def _narrow(marked: Mask, thickest: int) -> Mask:
    """Keep runs up to a length."""
    padded = np.zeros(len(marked) + 2, bool)
    padded[1:-1] = marked
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start > thickest:
            padded[start + 1 : end + 1] = False
    return padded[1:-1]


def _remove_lines(ink: Floats, lines: Mask, thickest: int, axis: int) -> Floats:
    """Remove lines, but keep the strokes that cross them."""
    size = (thickest + 3) | 1
    crossing = _running(ink, size, np.minimum, np.maximum, axes=(axis,))
    return np.where(lines, np.minimum(crossing, ink), ink)


def _components(mask: Mask, ink: Floats) -> Components:
    """Find the 8-connected components by uniting runs in adjacent rows."""
    height, width = mask.shape
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    stride = width + 2
    first = np.searchsorted(rows * stride + ends, (rows + 1) * stride + starts, "left")
    last = np.searchsorted(rows * stride + starts, (rows + 1) * stride + ends, "right")
    counts = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(rows)), counts)
    below = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[above]
    parent = np.arange(len(rows))
    while True:
        low = np.minimum(parent[above], parent[below])
        joined = parent.copy()
        np.minimum.at(joined, parent[above], low)
        np.minimum.at(joined, parent[below], low)
        joined = joined[joined]
        if np.array_equal(joined, parent):
            break
        parent = joined
    _, member = np.unique(parent, return_inverse=True)
    count = int(member.max()) + 1 if len(member) else 0
    boxes = np.tile(np.array([height, width, 0, 0], np.intp), (count, 1))
    np.minimum.at(boxes[:, 0], member, rows)
    np.minimum.at(boxes[:, 1], member, starts)
    np.maximum.at(boxes[:, 2], member, rows + 1)
    np.maximum.at(boxes[:, 3], member, ends)
    sums = np.pad(np.cumsum(ink, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    lengths = ends - starts
    sides = np.where((rows == 0) | (rows == height - 1), lengths, 0)
    sides = sides + (starts == 0) + (ends == width)
    labels = np.full(height * width, -1, np.intp)
    offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    labels[np.repeat(rows * width + starts, lengths) + offset] = np.repeat(member, lengths)
    return Components(
        labels=labels.reshape(height, width),
        mass=np.bincount(member, sums[rows, ends] - sums[rows, starts], count),
        area=np.bincount(member, lengths, count),
        boxes=boxes,
        contact=np.bincount(member, sides, count),
    )


def _choose(found: Components) -> NDArray[np.intp]:
    """Choose the components of the symbol; none if nothing resembles one."""
    shape = np.array(found.labels.shape)
    top, left, bottom, right = found.boxes.T
    size = np.maximum(bottom - top, right - left)
    middle = np.stack([(top + bottom) / 2, (left + right) / 2], axis=1)
    able = size >= max(6, _SMALLEST * shape.min())
    able &= found.contact <= 0.45 * shape.min()
    able &= ~_around_others(found.boxes, able, size)
    if not able.any():
        return np.empty(0, np.intp)
    away = np.abs(middle / shape - 0.5).max(axis=1)
    value = found.mass * (1.2 - away) * np.where(found.contact > 0, 0.2, 1)
    main = int(np.where(able, value, -1).argmax())
    members = _group(found, size, able, main)
    # Keep all of several symbols, so that the model sees that there is more than one.
    contrast = found.mass / found.area
    alike = able & (found.contact == 0) & (size > 0.6 * size[main])
    alike &= (contrast > 0.7 * contrast[main]) & ~members
    return np.flatnonzero(members | alike)


def _around_others(boxes: NDArray[np.intp], able: Mask, size: NDArray[np.intp]) -> Mask:
    """Mark frames: components with another component of some size well inside."""
    frames = np.zeros(len(boxes), bool)
    places = np.flatnonzero(able)
    for outer in places:
        margin = 0.05 * (boxes[outer, 2:] - boxes[outer, :2])
        inside = (boxes[places, :2] >= boxes[outer, :2] + margin).all(axis=1)
        inside &= (boxes[places, 2:] <= boxes[outer, 2:] - margin).all(axis=1)
        frames[outer] = bool((inside & (size[places] > 0.3 * size[outer])).any())
    return frames


def _group(found: Components, size: NDArray[np.intp], able: Mask, main: int) -> Mask:
    """Mark the main component and the pieces of a broken stroke near it."""
    near = 0.12 * size[main]
    contrast = found.mass / found.area
    alike = (size >= 0.12 * size[main]) & (contrast > 0.7 * contrast[main])
    alike &= (found.contact == 0) & (able | (size < 0.5 * size[main]))
    box, members = found.boxes[main].copy(), np.zeros(len(size), bool)
    members[main] = True
    for _ in range(3):
        close = (found.boxes[:, :2] < box[2:] + near).all(axis=1)
        close &= (found.boxes[:, 2:] > box[:2] - near).all(axis=1)
        members |= close & alike
        box[:2] = found.boxes[members, :2].min(axis=0)
        box[2:] = found.boxes[members, 2:].max(axis=0)
    return members


def _cut(
    ink: Floats, found: Components, chosen: NDArray[np.intp], level: float
) -> tuple[Floats, Box]:
    """Cut out the ink of the chosen components, in 0…1, with their box."""
    top, left = found.boxes[chosen, :2].min(axis=0)
    bottom, right = found.boxes[chosen, 2:].max(axis=0)
    part = (slice(top, bottom), slice(left, right))
    cut = np.where(np.isin(found.labels[part], chosen), ink[part], 0)
    # Reflections reduce the contrast of ink.
    near = max(5, round(0.14 * max(cut.shape))) | 1
    full = _running(cut, near, np.maximum)
    soft = np.clip((cut / np.maximum(full, level) - 0.2) / 0.5, 0, 1)
    return soft.astype(np.float32), (top, left, bottom, right)


def _normalize_width(ink: Floats) -> Floats:
    """Make strokes as wide as a pen's on a digit of this size."""
    size, width = max(ink.shape), _stroke_width(ink)
    if width < _THIN * size:
        by = round((_THIN * size - width) / 2)
        return _running(np.pad(ink, by), 2 * by + 1, np.maximum)
    if width > _THICK * size:
        by = round((width - _THICK * size) / 2)
        return _running(ink, 2 * by + 1, np.minimum)
    return ink


def _stroke_width(ink: Floats) -> float:
    """The average width in pixels: the outline of a stroke is twice its length."""
    mask = np.pad(ink > 0.5, 1)
    inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    area = int(mask.sum())
    return 2 * area / max(area - int(inner.sum()), 1)


def _touches_border(found: _Symbol) -> bool:
    top, left, bottom, right = found.box
    return not (top and left and bottom < found.shape[0] and right < found.shape[1])


def _contains(outer: Box, inner: Box) -> bool:
    return (
        outer[0] < inner[0] and outer[1] < inner[1] and outer[2] > inner[2] and outer[3] > inner[3]
    )


def _closed(image: Floats, window: int, first: Any, then: Any) -> Floats:
    """Remove structures narrower than the window; the edges of wider ones do not move."""
    # Repeat the border, so that a frame or a shadow at the edge is wide.
    closed = _running(np.pad(image, window, "edge"), window, first, then)
    return closed[window:-window, window:-window]


def _running(image: Floats, window: int, *ufuncs: Any, axes: tuple[int, ...] = (0, 1)) -> Floats:
    """The minimum or maximum of an odd window around each value, for each ufunc in turn."""
    if window == 1:
        return image
    for ufunc in ufuncs:
        for axis in axes:
            line = _pad_first(np.moveaxis(image, axis, 0), window // 2, window // 2)
            count, covered = image.shape[axis], 1
            while 2 * covered <= window:
                line = ufunc(line[:-covered], line[covered:])
                covered *= 2
            line = ufunc(line[:count], line[window - covered :][:count])
            image = np.moveaxis(line, 0, axis)
    return image


def _mean(image: Floats, window: int) -> Floats:
    """The mean of an odd window around each value."""
    for axis in (0, 1):
        line = _pad_first(np.moveaxis(image, axis, 0), window // 2 + 1, window // 2)
        sums = np.cumsum(line, axis=0, dtype=np.float64)
        image = np.moveaxis((sums[window:] - sums[:-window]) / window, 0, axis).astype(np.float32)
    return image


def _pad_first(image: Floats, before: int, after: int) -> Floats:
    """Repeat the first and the last row; np.pad takes several times as long."""
    rows = np.arange(-before, len(image) + after).clip(0, len(image) - 1)
    padded: Floats = image[rows]
    return padded
