"""Augmentation: other ways in which the same thing could have been drawn or photographed.

Runs in the input pipeline, on images that are already preprocessed. What is changed follows from
numbers that the pipeline draws, so that a training that is resumed sees what it would have seen.
"""

from dataclasses import dataclass
from math import pi

import numpy as np

from training.config import parse_data
from training.evaluation import Answer, answers
from training.prepared import Part
from training.tensorflow_setup import Tensor, tf

# Random numbers in -1…1 that each image takes.
NUMBERS = 9
# Examples that images without a class are made of when a threshold is chosen.
_THRESHOLD_SAMPLE = 1000
_HIGHEST_THRESHOLD = 0.5


@dataclass(frozen=True)
class Augmentation:
    """How far images may be changed; each change is drawn evenly from its range.

    Attributes:
        rotation: degrees, either way.
        shift: share of the side, in each direction.
        zoom: of the logarithm of the size: 0.1 is about 10 % either way.
        aspect: of the logarithm of width and, the other way, of height.
        shear: cells to the side for each cell up.
        stroke: 1 makes strokes up to one cell wider, or thinner, on each side; grey images only.
        contrast: 1 makes edges up to twice as steep, as of a crisper pen; grey images only.
        mirror: whether left and right may change places.
        others: how many images that show no class are added, as a share of the batch.
    """

    rotation: float
    shift: float
    zoom: float
    aspect: float = 0.0
    shear: float = 0.0
    stroke: float = 0.0
    contrast: float = 0.0
    mirror: bool = False
    others: float = 0.0


# Tried: digits of 8 x 8 so that a model of them knows MNIST's, which are crisper and more slanted.
_DIGITS = Augmentation(
    20, 0.075, 0.15, aspect=0.2, shear=0.4, stroke=1.0, contrast=3.0, others=0.25
)
_MNIST = Augmentation(15, 0.08, 0.12, aspect=0.1, shear=0.15, stroke=0.6, contrast=1.0, others=0.25)
_FASHION = Augmentation(3, 0.05, 0.08, mirror=True)
_PHOTOS = Augmentation(10, 0.08, 0.1, aspect=0.05, shear=0.1)
_KNOWN = {"digits": _DIGITS, "mnist": _MNIST, "fashion_mnist": _FASHION}


def augmentation_for(data: str, strength: float) -> Augmentation | None:
    """What suits a data set, so many times as strong; None where the strength is 0.

    Args:
        data: as `training.config` reads it.
        strength: 1 for the changes as they are.
    """
    if not strength:
        return None
    base = _KNOWN.get(parse_data(data).name, _PHOTOS)
    return Augmentation(
        rotation=strength * base.rotation,
        shift=strength * base.shift,
        zoom=strength * base.zoom,
        aspect=strength * base.aspect,
        shear=strength * base.shear,
        stroke=strength * base.stroke,
        contrast=strength * base.contrast,
        mirror=base.mirror,
        others=base.others,
    )


def augment(images: Tensor, numbers: Tensor, by: Augmentation) -> Tensor:
    """Change every image of a batch in its own way.

    Args:
        images: float32 [n, h, w, c] in 0…1.
        numbers: float32 [n, NUMBERS] in -1…1, from which all follows.
        by: how far.
    """
    grey = images.shape[-1] == 1
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_transforms(tf.shape(images), numbers, by),
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        # Around handwriting is background, around a photograph more of the same.
        fill_mode="CONSTANT" if grey else "REFLECT",
        fill_value=0.0,
    )
    changed = tf.ensure_shape(changed, images.shape)
    if grey and by.stroke:
        changed = _stroke(changed, by.stroke * numbers[:, 7])
    if grey and by.contrast:
        gain = _each(1 + by.contrast * (1 + numbers[:, 8]) / 2)
        changed = tf.clip_by_value((changed - 0.5) * gain + 0.5, 0.0, 1.0)
    return changed


def without_class(images: Tensor, seed: Tensor, count: Tensor) -> Tensor:
    """Images that show none of the classes, made of some that do, in equal parts.

    Two side by side, as two digits are; two over one another; the quarters of one in another
    order; soft blots; noise; nothing.

    Args:
        images: float32 [n, h, w, c] in 0…1, light on dark.
        seed: int64 [2].
        count: int64 [], how many to make.
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


def score_threshold(answer: Answer, part: Part, by: Augmentation | None, seed: int) -> float | None:
    """The least score of an answer, below which an image most likely shows none of the classes.

    Halfway between what nearly all images without a class stay below and nearly all right answers
    reach, rounded; never so high that more than 2 % of the right answers would be lost, and at most
    0.5, because right answers on drawings and photographs score lower than on the training data's.

    Args:
        answer: the model.
        part: examples that it was not trained on.
        by: how it was trained; without images that show no class there is no threshold.
        seed: of these images.
    """
    if by is None or not by.others or not part.count:
        return None
    scores = answers(answer, part)
    right = scores[scores.argmax(axis=1) == part.targets].max(axis=1)
    places = np.arange(min(part.count, _THRESHOLD_SAMPLE))
    images = tf.constant(part.tensors(places))
    others = without_class(images, tf.constant([seed, 1], tf.int64), tf.constant(600, tf.int64))
    unknown = answer(others.numpy()).max(axis=1)
    if not len(right):
        return None
    kept, most = float(np.quantile(right, 0.02)), float(np.quantile(unknown, 0.98))
    return round(min(kept, (kept + most) / 2, _HIGHEST_THRESHOLD), 2)


def _transforms(shape: Tensor, numbers: Tensor, by: Augmentation) -> Tensor:
    """[n, 8]: where each output pixel comes from, an affine map around the image's middle."""
    height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
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
    zero = tf.zeros_like(a)
    return tf.stack([a, b, x_move, c, d, y_move, zero, zero], axis=1)


def _stroke(images: Tensor, amount: Tensor) -> Tensor:
    """Part of the way to the lightest, or darkest, of each pixel and its neighbours."""
    amount = _each(amount)
    wider = tf.nn.max_pool2d(images, 3, 1, "SAME")
    thinner = -tf.nn.max_pool2d(-images, 3, 1, "SAME")
    # A whole erosion would leave nothing of a thin stroke.
    way = tf.clip_by_value(tf.where(amount > 0, amount, 0.7 * amount), -0.7, 1.0)
    return tf.where(way > 0, images + way * (wider - images), images - way * (thinner - images))


def _each(values: Tensor) -> Tensor:
    """[n] to [n, 1, 1, 1]."""
    return values[:, tf.newaxis, tf.newaxis, tf.newaxis]
