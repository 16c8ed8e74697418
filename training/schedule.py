"""How fast to go at each step of training."""

from math import pi

import numpy as np

from training.config import TrainConfig
from training.network import Schedule
from training.pipeline import Part
from training.tensorflow_setup import Tensor, tf

# Share of all steps in which the rate rises to its height, but at most one epoch.
_WARMUP = 0.05
# Examples that the curvature is estimated from.
_SAMPLE = 65_536


def schedule(config: TrainConfig, rate: float, steps_per_epoch: int) -> Schedule:
    """The learning rate at a step: up a slope, then down to zero along a cosine.

    The linear model has the same rate at every step: plain gradient descent.
    """
    if config.model == "linear":
        return lambda step: tf.constant(rate, tf.float32)  # noqa: ARG005
    total = config.epochs * steps_per_epoch
    warmup = min(round(_WARMUP * total), steps_per_epoch)

    def at(step: Tensor) -> Tensor:
        step = tf.cast(step, tf.float32)
        rising = (step + 1) / (warmup + 1)
        share = tf.minimum((step - warmup) / (total - warmup), 1.0)
        falling = 0.5 * (1 + tf.cos(pi * share))
        return rate * tf.where(step < warmup, rising, falling)

    return at


def height(config: TrainConfig, train: Part) -> float:
    """The configured rate, or one over the largest curvature of the linear model's squared error.

    Gradient descent converges with less than two over it, whatever the columns' scales.
    """
    if config.learning_rate is not None:
        return config.learning_rate
    inputs = train.tensors(np.arange(min(train.count, _SAMPLE)))
    rows = inputs.reshape(len(inputs), -1).astype(np.float64)
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    return float(1 / np.linalg.norm(2 / len(rows) * rows.T @ rows, ord=2))
