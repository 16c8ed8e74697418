"""Training images, changed at random as handwriting and photographs differ."""

from math import pi

from training.tensorflow_setup import Tensor, tf

# Random numbers in -1…1 that each image takes.
NUMBERS = 7


def augment(images: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """Turn, move, zoom, stretch and slant images; of grey ones also thicken or thin the strokes.

    Args:
        images: float32 [n, h, w, c] in 0…1.
        numbers: float32 [n, NUMBERS] in -1…1, from which all follows.
        strength: 1 for up to 10 degrees, 8 % of the side, 10 % of the size, 5 % of the aspect and
            a slant of 0.15.
    """
    grey = images.shape[-1] == 1
    if grey:
        images = _stroke(images, numbers[:, 6], strength)
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_transforms(tf.shape(images), numbers, strength),
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        # Around handwriting is background, around a photograph more of the same.
        fill_mode="CONSTANT" if grey else "REFLECT",
        fill_value=0.0,
    )
    return tf.ensure_shape(changed, images.shape)


def _transforms(shape: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """[n, 8]: where each output pixel comes from, an affine map around the image's middle."""
    height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    turn, down, right, zoom, stretch, slant, _ = tf.unstack(strength * numbers, axis=1)
    angle = turn * 10 * pi / 180
    x_scale = 1 + 0.1 * zoom + 0.05 * stretch
    y_scale = 1 + 0.1 * zoom - 0.05 * stretch
    a, b = x_scale * tf.cos(angle), x_scale * (0.15 * slant - tf.sin(angle))
    c, d = y_scale * tf.sin(angle), y_scale * tf.cos(angle)
    x_middle, y_middle = (width - 1) / 2, (height - 1) / 2
    x_move = x_middle - a * x_middle - b * y_middle + 0.08 * right * width
    y_move = y_middle - c * x_middle - d * y_middle + 0.08 * down * height
    zero = tf.zeros_like(a)
    return tf.stack([a, b, x_move, c, d, y_move, zero, zero], axis=1)


def _stroke(images: Tensor, numbers: Tensor, strength: float) -> Tensor:
    """Part of the way to the lightest, or darkest, of each pixel and its neighbours."""
    way = tf.clip_by_value(0.5 * strength * numbers, -1.0, 1.0)[
        :, tf.newaxis, tf.newaxis, tf.newaxis
    ]
    thick = tf.nn.max_pool2d(images, 3, 1, "SAME")
    thin = -tf.nn.max_pool2d(-images, 3, 1, "SAME")
    return tf.where(way > 0, images + way * (thick - images), images - way * (thin - images))
