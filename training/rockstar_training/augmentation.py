"""Augmentation: random changes of preprocessed images, and images that show no class.

Changes depend only on random numbers from the input pipeline, so that a resumed training sees the
same images as an uninterrupted one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi

import numpy as np

from rockstar_training.config import parse_data
from rockstar_training.evaluation import Predictor, predict_part
from rockstar_training.prepared_data import Part
from rockstar_training.tensorflow_setup import Tensor, tf

# Control points along each side for bending, and the maximum number of gaps.
_POINTS, _GAPS = 4, 3
# Examples that images of no class are made from to choose a threshold.
_THRESHOLD_SAMPLE = 1000
_HIGHEST_THRESHOLD = 0.5


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the changes, which are distributed uniformly."""

    rotation: float  # degrees, in both directions
    shift: float  # share of the side, in each direction
    zoom: float  # of the logarithm of the size: 0.1 is about ±10 %
    aspect: float = 0.0  # of the logarithm of the width and, inversely, of the height
    shear: float = 0.0  # cells to the side per cell up
    # The following change gray images only.
    bend: float = 0.0  # cells that parts of a drawing move relative to each other
    stroke: float = 0.0  # 1 makes strokes up to one cell wider, or thinner, on each side
    contrast: float = 0.0  # 1 makes edges up to twice as steep
    gaps: float = 0.0  # largest radius of spots without ink, as a share of the side
    finer: int = 1  # factor of a finer grid for drawing, which keeps the edges of strokes smooth
    # These change all images.
    mirror: bool = False  # whether images may be mirrored horizontally
    others: float = 0.0  # number of added images of no class, as a share of the batch

    @property
    def numbers(self) -> int:
        """Random numbers in -1…1 that each image needs."""
        return 9 + (2 * _POINTS**2 if self.bend else 0) + (3 * _GAPS if self.gaps else 0)


# Tuned on MNIST's training digits; the bundled ones are coarser, less slanted, and by few writers.
_DIGITS = Augmentation(
    rotation=20,
    shift=0.075,
    zoom=0.15,
    aspect=0.2,
    shear=0.4,
    bend=1.5,
    stroke=1.0,
    contrast=1.0,
    gaps=0.15,
    finer=2,
    others=0.25,
)
_MNIST = Augmentation(15, 0.08, 0.12, aspect=0.1, shear=0.15, stroke=0.6, contrast=1.0, others=0.25)
_FASHION = Augmentation(3, 0.05, 0.08, mirror=True)
_PHOTOS = Augmentation(10, 0.08, 0.1, aspect=0.05, shear=0.1)
_KNOWN = {"digits": _DIGITS, "mnist": _MNIST, "fashion_mnist": _FASHION}


def augmentation_for(data: str, strength: float) -> Augmentation | None:
    """Return the changes that suit a data set, with ranges scaled by the strength; None for 0."""
    if not strength:
        return None
    base = _KNOWN.get(parse_data(data).name, _PHOTOS)
    ranges = ("rotation", "shift", "zoom", "aspect", "shear", "bend", "stroke", "contrast", "gaps")
    return replace(base, **{name: strength * getattr(base, name) for name in ranges})


def augment(images: Tensor, numbers: Tensor, by: Augmentation) -> Tensor:
    """Change each image of a batch, float32 [n, h, w, c] in 0…1.

    Numbers, float32 [n, by.numbers] in -1…1, determine the changes.
    """
    gray = images.shape[-1] == 1
    finer = by.finer if gray else 1
    height, width = finer * images.shape[1], finer * images.shape[2]
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_transforms(images.shape, numbers, by, finer),
        output_shape=[height, width],
        interpolation="BILINEAR",
        # Handwriting is surrounded by background, photographs by their mirror image.
        fill_mode="CONSTANT" if gray else "REFLECT",
        fill_value=0.0,
    )
    changed = tf.ensure_shape(changed, [None, height, width, images.shape[-1]])
    if gray and by.bend:
        points = tf.reshape(numbers[:, 9 : 9 + 2 * _POINTS**2], [-1, _POINTS, _POINTS, 2])
        moves = tf.image.resize(points, [height, width], "bicubic")
        changed = _bent(changed, finer * by.bend * moves)
    if gray and by.stroke:
        changed = _stroke(changed, by.stroke * numbers[:, 7])
    if gray and by.contrast:
        gain = _each(1 + by.contrast * (1 + numbers[:, 8]) / 2)
        changed = tf.clip_by_value((changed - 0.5) * gain + 0.5, 0.0, 1.0)
    if finer > 1:
        changed = tf.nn.avg_pool2d(changed, finer, finer, "VALID")
    if gray and by.gaps:
        changed *= _gaps(images.shape, numbers[:, -3 * _GAPS :], by.gaps)
    return changed


def without_class(images: Tensor, seed: Tensor, count: Tensor) -> Tensor:
    """Create images that show none of the classes from some that do, in equal parts.

    Two side by side, like two digits; two on top of each other; the quarters of one in another
    order; soft blots; noise; nothing. Images are float32 [n, h, w, c] in 0…1, light on dark; the
    seed is int64 [2], the count int64 [].
    """
    height, width = images.shape[1], images.shape[2]
    draw = tf.random.stateless_uniform
    seeds = tf.random.split(seed, 6)
    limit = tf.shape(images, tf.int64)[0]
    picks = draw([2, count], seeds[0], maxval=limit, dtype=tf.int64)
    first, second = tf.gather(images, picks[0]), tf.gather(images, picks[1])
    halves = [tf.image.resize(each, [height, width // 2]) for each in (first, second)]
    beside = tf.concat(halves, axis=2)
    if width % 2:
        beside = tf.image.resize(beside, [height, width])
    crossed = tf.maximum(first, tf.reverse(second, [1]))
    mixed = tf.roll(first, [height // 2, width // 2], [1, 2])
    channels = images.shape[-1]
    coarse = draw([count, 5, 5, channels], seeds[1], -0.8, 1.6)
    blots = tf.clip_by_value(tf.image.resize(coarse, [height, width], "bicubic"), 0.0, 1.0)
    noise = draw([count, height, width, channels], seeds[2])
    noise = tf.where(noise > draw([count, 1, 1, 1], seeds[3]), noise, 0.0)
    kinds = tf.stack([beside, crossed, mixed, blots, noise, tf.zeros_like(first)], axis=1)
    made = tf.gather(kinds, tf.range(count) % 6, axis=1, batch_dims=1)
    return tf.ensure_shape(made, [None, *images.shape[1:]])


def score_threshold(
    predictor: Predictor, part: Part, by: Augmentation | None, seed: int
) -> float | None:
    """Choose the score below which an image probably shows none of the classes.

    It lies halfway between the scores that nearly all images of no class stay below and nearly all
    correct predictions reach, rounded. It loses at most 2 % of the correct predictions, and is at
    most 0.5, because drawings and photographs score lower than the training data. The part must not
    be trained on. There is no threshold without images of no class in training.
    """
    if by is None or not by.others or not part.count:
        return None
    scores = predict_part(predictor, part)
    right = scores[scores.argmax(axis=1) == part.targets].max(axis=1)
    if not len(right):
        return None
    places = np.arange(min(part.count, _THRESHOLD_SAMPLE))
    images = tf.constant(part.tensors(places))
    others = without_class(images, tf.constant([seed, 1], tf.int64), tf.constant(600, tf.int64))
    unknown = predictor(others.numpy()).max(axis=1)
    kept, most = float(np.quantile(right, 0.02)), float(np.quantile(unknown, 0.98))
    return round(min(kept, (kept + most) / 2, _HIGHEST_THRESHOLD), 2)


def _transforms(shape: Tensor, numbers: Tensor, by: Augmentation, finer: int) -> Tensor:
    """Return affine maps, [n, 8], from output to input pixels, around the center of the image."""
    height, width = shape[1], shape[2]
    turn, down, right, zoom, stretch, slant, side = tf.unstack(numbers[:, :7], axis=1)
    angle, shear = turn * (by.rotation * pi / 180), by.shear * slant
    x_scale = tf.exp(by.zoom * zoom + by.aspect * stretch)
    y_scale = tf.exp(by.zoom * zoom - by.aspect * stretch)
    if by.mirror:
        x_scale *= tf.where(side < 0, -1.0, 1.0)
    a, b = x_scale * tf.cos(angle), x_scale * (shear * tf.cos(angle) - tf.sin(angle))
    c, d = y_scale * tf.sin(angle), y_scale * (tf.cos(angle) + shear * tf.sin(angle))
    x_middle, y_middle = (width - 1) / 2, (height - 1) / 2
    x_move = x_middle - a * x_middle - b * y_middle + by.shift * right * width
    y_move = y_middle - c * x_middle - d * y_middle + by.shift * down * height
    # The centers of a finer grid's cells are shifted.
    off = 0.5 / finer - 0.5
    x_move, y_move = x_move + off * (a + b), y_move + off * (c + d)
    a, b, c, d = a / finer, b / finer, c / finer, d / finer
    zero = tf.zeros_like(a)
    return tf.stack([a, b, x_move, c, d, y_move, zero, zero], axis=1)


def _bent(images: Tensor, moves: Tensor) -> Tensor:
    """Take the pixels of gray images from elsewhere: [n, h, w, 2] cells down and to the right."""
    height, width = images.shape[1], images.shape[2]
    grid = tf.stack(tf.meshgrid(tf.range(height), tf.range(width), indexing="ij"), axis=-1)
    places = tf.cast(grid, tf.float32) + moves
    places = tf.clip_by_value(places, 0.0, [height - 1.001, width - 1.001])
    corners = tf.floor(places)
    down, right = tf.unstack(places - corners, axis=-1)
    first = tf.cast(corners[..., 0] * width + corners[..., 1], tf.int32)
    cells = tf.reshape(images, [-1, height * width])
    left, top = 1 - right, 1 - down
    above = left * tf.gather(cells, first, batch_dims=1)
    above += right * tf.gather(cells, first + 1, batch_dims=1)
    below = left * tf.gather(cells, first + width, batch_dims=1)
    below += right * tf.gather(cells, first + width + 1, batch_dims=1)
    return (top * above + down * below)[..., tf.newaxis]


def _stroke(images: Tensor, amount: Tensor) -> Tensor:
    """Move each pixel towards the lightest, or darkest, of it and its neighbors."""
    amount = _each(amount)
    wider, thinner = _of_neighbors(images, tf.maximum), _of_neighbors(images, tf.minimum)
    # A full erosion would remove thin strokes.
    way = tf.clip_by_value(tf.where(amount > 0, amount, 0.7 * amount), -0.7, 1.0)
    return tf.where(way > 0, images + way * (wider - images), images - way * (thinner - images))


def _of_neighbors(images: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Choose one of the 3 x 3 pixels around each, with tf.maximum or tf.minimum.

    On a CPU this takes a quarter of the time of tf.nn.max_pool2d, which is made for many channels.
    """
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    rows = choose(choose(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    return choose(choose(rows[:, :, :-2], rows[:, :, 1:-1]), rows[:, :, 2:])


def _gaps(shape: Tensor, numbers: Tensor, largest: float) -> Tensor:
    """Return masks, [n, h, w, 1], of 1 with up to _GAPS round spots of 0."""
    height, width = shape[1], shape[2]
    spots = tf.reshape(numbers, [-1, _GAPS, 3, 1, 1])
    radius = largest * width * spots[:, :, 2]
    # Halfway up, where each 7 of the bundled digits has a bar, which many writers leave out. Spots
    # below would turn a 2 or a 3 into such a 7.
    y = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - (0.5 + 0.15 * spots[:, :, 0]) * height
    x = tf.range(width, dtype=tf.float32) - (0.5 + 0.3 * spots[:, :, 1]) * width
    kept = tf.clip_by_value(tf.sqrt(x**2 + y**2) - radius + 0.5, 0.0, 1.0)
    kept = tf.where(radius > 0, kept, 1.0)
    return tf.reduce_min(kept, axis=1)[..., tf.newaxis]


def _each(values: Tensor) -> Tensor:
    """Reshape [n] to [n, 1, 1, 1]."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]
