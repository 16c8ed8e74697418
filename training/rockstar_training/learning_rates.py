"""The learning rate's four curves: what too high, high, good and low do to the loss.

Real runs of a small model on the bundled digits, by plain stochastic gradient descent: no momentum,
no schedule, no adaptive steps, which would soften what is to be seen. All start from the same
weights and see the same batches in the same order. Rates are not written down here: they are tried
one after the other, and chosen by what they did.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_training import datasets
from rockstar_training.config import config_for
from rockstar_training.errors import TrainingError
from rockstar_training.image_inputs import known_input, prepare_images
from rockstar_training.models import Model, build
from rockstar_training.task import Task
from rockstar_training.tensorflow_setup import Tensor, keras, make_repeatable, tf

DATA = "digits"
TEST_FRACTION = 0.2
BATCH_SIZE = 64
# About half a power of ten apart: a learning rate's effect changes with its order of magnitude.
LADDER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# The loss settles at this many times what it was before training: it has gone up for good.
DIVERGED = 1.2
# It settles below this share of that: something was learned.
LEARNED = 0.5

Losses = NDArray[np.float64]
# Called after each rate: how many are done and how many there are at most.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Curve:
    """A run at one learning rate.

    Attributes:
        rate: of gradient descent.
        losses: float64 [epochs + 1], cross-entropy in nats over all training images: before
            training and after each epoch; infinity from where it could not be calculated any more.
    """

    rate: float
    losses: Losses

    @property
    def settled(self) -> float:
        """Mean of the last quarter of the epochs, so that a lucky bounce does not count."""
        return float(self.losses[-max(1, len(self.losses) // 4) :].mean())


@dataclass(frozen=True, eq=False)
class FourCurves:
    """The four that tell the story, all of one model.

    Attributes:
        very_high: the lowest rate at which the loss ends above where it started.
        high: the highest one at which the loss at least halves; it is less even then.
        good: the one at which the loss ends lowest.
        low: the highest one below it at which the loss does not halve in this time.
    """

    very_high: Curve
    high: Curve
    good: Curve
    low: Curve


def four_curves(model: str, epochs: int, seed: int, progress: Progress | None = None) -> FourCurves:
    """Train at one learning rate after the other, and choose four.

    Args:
        model: one that `models.build` knows.
        epochs: of each run.
        seed: of the split, the initial weights and the order of the batches.
        progress: told after each rate.

    Raises:
        TrainingError: these epochs are too few, or too many, to tell four rates apart.
    """
    curves: list[Curve] = []
    for curve in _runs(model, epochs, seed):
        curves.append(curve)
        if progress is not None:
            progress(len(curves), len(LADDER))
        if _diverged(curve):
            break
    return choose(curves)


def choose(curves: Sequence[Curve]) -> FourCurves:
    """The four among runs at ascending rates.

    Raises:
        TrainingError: one of the four is not among them; it says which, and what to try.
    """
    epochs = len(curves[0].losses) - 1
    good = min(curves, key=lambda curve: curve.settled)
    diverged = [curve for curve in curves if curve.rate > good.rate and _diverged(curve)]
    learned = [curve for curve in curves if curve.rate > good.rate and _learned(curve)]
    slow = [curve for curve in curves if curve.rate < good.rate and not _learned(curve)]
    if not diverged:
        raise TrainingError(f"rates up to {curves[-1].rate:g} were tried and none diverges")
    if not learned:
        raise TrainingError(
            f"no rate above {good.rate:g} learns more slowly than it in {epochs} epochs: another "
            "number of epochs or another seed may tell them apart"
        )
    if not slow:
        raise TrainingError(
            f"even a rate of {curves[0].rate:g} is not slow over {epochs} epochs: ask for fewer"
        )
    return FourCurves(diverged[0], learned[-1], good, slow[-1])


def _diverged(curve: Curve) -> bool:
    return curve.settled > DIVERGED * float(curve.losses[0])


def _learned(curve: Curve) -> bool:
    return curve.settled < LEARNED * float(curve.losses[0])


def _runs(model: str, epochs: int, seed: int) -> Iterator[Curve]:
    make_repeatable(seed)
    images, labels = _training_data(seed)
    network = build(config_for(model), Task(images.shape[1:], int(labels.max()) + 1))
    initial = network.get_weights()
    rate = tf.Variable(0.0)
    descend, loss_of = _descent(network, rate)
    for value in LADDER:
        network.set_weights(initial)
        keras.utils.set_random_seed(seed)
        rate.assign(value)
        losses = [float(loss_of(images, labels))]
        order = np.random.default_rng(seed)
        for _ in range(epochs):
            # Whole batches only; who is left over is another one in the next epoch.
            chosen = order.permutation(len(labels))[: len(labels) // BATCH_SIZE * BATCH_SIZE]
            chosen = chosen.reshape(-1, BATCH_SIZE)
            descend(images[chosen], labels[chosen])
            losses.append(float(loss_of(images, labels)))
        yield Curve(value, np.nan_to_num(np.array(losses), nan=np.inf))


def _training_data(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    dataset = datasets.load(DATA)
    train = datasets.split(dataset, TEST_FRACTION, seed).train_index
    return prepare_images(dataset.images[train], known_input(DATA)), dataset.labels[train]


def _descent(network: Model, rate: Any) -> tuple[Callable[..., None], Callable[..., Tensor]]:
    """One epoch of gradient descent, and the loss; both compiled once for all rates."""
    cross_entropy = keras.losses.SparseCategoricalCrossentropy()

    def epoch(images: Tensor, labels: Tensor) -> None:
        for step in tf.range(tf.shape(labels)[0]):
            with tf.GradientTape() as tape:
                loss = cross_entropy(labels[step], network(images[step], training=True))
            weights = network.trainable_variables
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(rate * gradient)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(labels, network(images, training=False))

    return tf.function(epoch), tf.function(loss_of)
