"""The effect of the learning rate: loss curves for a very high, a high, a good and a low rate.

The curves are real runs of a small model on the bundled digits with plain stochastic gradient
descent. Momentum, schedules and adaptive steps would hide the effect. All runs start from the same
weights and see the same batches in the same order. Rates are tried in ascending order, and four are
selected by their results.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from rockstar_training.config import config_for
from rockstar_training.errors import TrainingError
from rockstar_training.networks import build
from rockstar_training.prepared_data import prepare_data, task_of
from rockstar_training.report.theme import BLUE, GREEN, MUTED, ORANGE
from rockstar_training.tensorflow_setup import Tensor, keras, make_repeatable, tf

_BATCH_SIZE = 64
# About half a power of ten apart, as the effect changes with the order of magnitude.
LADDER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# A run diverges, or has learned, if its loss settles above, or below, this multiple of its first.
_DIVERGED, _LEARNED = 1.2, 0.5
# The vertical axis is linear up to the loss before training, logarithmic above it up to _TOP.
_TOP = 1e4
_TICKS = (0.0, 0.5, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1e3, 1e4)


@dataclass(frozen=True, eq=False)
class Curve:
    """A run at one learning rate."""

    rate: float
    # [epochs + 1], cross-entropy in nats over all training images, before training and after each
    # epoch; infinity after an overflow.
    losses: NDArray[np.float64]

    @property
    def settled(self) -> float:
        """Mean loss of the last quarter of the epochs, which is robust against single epochs."""
        return float(self.losses[-max(1, len(self.losses) // 4) :].mean())

    @property
    def diverged(self) -> bool:
        """Whether the loss has increased."""
        return self.settled > _DIVERGED * float(self.losses[0])

    @property
    def learned(self) -> bool:
        """Whether the loss has at least halved."""
        return self.settled < _LEARNED * float(self.losses[0])


def four_curves(
    model: str, epochs: int, seed: int, progress: Callable[[], None] = lambda: None
) -> dict[str, Curve]:
    """Train at one learning rate after the other, and select four typical ones by name.

    "very high" is the lowest rate that makes the loss diverge, "high" the highest one that at least
    halves it, "good" has the lowest final loss, and "low" is the highest one below "good" that does
    not halve it.

    The seed is that of the split, the initial weights and the order of the batches. `progress` is
    called after each of up to len(LADDER) rates. Raises a TrainingError if no four rates can be
    distinguished with this number of epochs.
    """
    curves: list[Curve] = []
    for curve in _runs(model, epochs, seed):
        curves.append(curve)
        progress()
        if curve.diverged:
            break
    good = min(curves, key=lambda curve: curve.settled)
    diverged = [curve for curve in curves if curve.rate > good.rate and curve.diverged]
    learned = [curve for curve in curves if curve.rate > good.rate and curve.learned]
    slow = [curve for curve in curves if curve.rate < good.rate and not curve.learned]
    if not diverged:
        raise TrainingError(f"rates up to {curves[-1].rate:g} were tried and none diverges")
    if not learned:
        raise TrainingError(
            f"no rate above {good.rate:g} learns more slowly than it in {epochs} epochs: another "
            "number of epochs or another seed may separate them"
        )
    if not slow:
        raise TrainingError(
            f"even a rate of {curves[0].rate:g} is not slow over {epochs} epochs: give fewer epochs"
        )
    return {"very high": diverged[0], "high": learned[-1], "good": good, "low": slow[-1]}


def _runs(model: str, epochs: int, seed: int) -> Iterator[Curve]:
    make_repeatable(seed)
    config = config_for(model, seed=seed, validation_fraction=0.0)
    data = prepare_data(config)
    images, labels = data.train.tensors(np.arange(data.train.count)), data.train.targets
    network = build(config, task_of(config, data))
    initial = network.get_weights()
    rate = tf.Variable(0.0)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy()

    @tf.function  # type: ignore[untyped-decorator]
    def descend(images: Tensor, labels: Tensor) -> None:
        for step in tf.range(tf.shape(labels)[0]):
            with tf.GradientTape() as tape:
                loss = cross_entropy(labels[step], network(images[step], training=True))
            weights = network.trainable_variables
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(rate * gradient)

    @tf.function  # type: ignore[untyped-decorator]
    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(labels, network(images, training=False))

    for value in LADDER:
        network.set_weights(initial)
        keras.utils.set_random_seed(seed)
        rate.assign(value)
        losses = [float(loss_of(images, labels))]
        order = np.random.default_rng(seed)
        for _ in range(epochs):
            # Incomplete batches are dropped; each epoch has another order.
            chosen = order.permutation(len(labels))[: len(labels) // _BATCH_SIZE * _BATCH_SIZE]
            chosen = chosen.reshape(-1, _BATCH_SIZE)
            descend(images[chosen], labels[chosen])
            losses.append(float(loss_of(images, labels)))
        yield Curve(value, np.nan_to_num(np.array(losses), nan=np.inf))


def draw_curves(curves: dict[str, Curve], title: str) -> Figure:
    """Plot loss against epoch for the rates of `four_curves`."""
    figure = Figure(figsize=(6.4, 4.8))
    axes = figure.add_subplot()
    epochs = np.arange(len(curves["good"].losses))
    styles = ((ORANGE, "--"), (GREEN, "-."), (BLUE, "-"), (MUTED, ":"))
    for (name, curve), (color, line) in zip(curves.items(), styles, strict=True):
        # Lines to infinity are not drawn.
        losses = np.minimum(curve.losses, _TOP)
        style: dict[str, Any] = {"color": color, "linestyle": line, "linewidth": 2.2}
        axes.plot(epochs, losses, label=f"{name}: {curve.rate:g}", **style)
    start = float(curves["good"].losses[0])
    axes.axhline(start, color=MUTED, linewidth=0.8)
    top = min(max(float(curve.losses.max()) for curve in curves.values()) * 1.2, _TOP)
    axes.set_yscale("symlog", linthresh=start, linscale=2.5)
    axes.set(xlim=(0, epochs[-1]), ylim=(0, top))
    ticks = [tick for tick in _TICKS if tick <= top]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="training loss (cross-entropy, nats)", title=title)
    axes.legend(
        title="learning rate (axis logarithmic above the gray line, the loss before training)",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=4,
        columnspacing=1.2,
        handlelength=2.6,
    )
    return figure
