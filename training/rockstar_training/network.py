"""What the training loop needs of a network, whichever API it is written in."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rockstar_training import lowlevel, pretrained
from rockstar_training.config import TrainConfig
from rockstar_training.models import Model, build, scoring
from rockstar_training.task import Task
from rockstar_training.tensorflow_setup import Tensor, keras, tf

# A tf.Variable.
Variable = Any
# float of a step's number, counted from 0.
Schedule = Callable[[Tensor], Tensor]


class Optimizer(Protocol):
    """Takes steps down a gradient.

    Attributes:
        state: everything that it remembers from step to step.
    """

    state: list[Variable]

    def apply(self, gradients: Sequence[Tensor]) -> None:
        """Take a step; gradients are added up over replicas."""


class Network(Protocol):
    """A network that can be trained and exported.

    Attributes:
        task: what it is to learn.
        trainable: what gradients are taken of.
        weights: what its answers depend on, in the same order for both APIs.
        state: the weights and what else changes in training.
        trackables: what owns the variables, for the exporter.
    """

    task: Task
    trainable: list[Variable]
    weights: list[Variable]
    state: list[Variable]
    trackables: list[Any]

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """float32 [n, *shape] to logits, or values in standard units; with a seed as in training.

        Args:
            x: float32 [n, *shape].
            seed: int [2], of dropout; None is as in serving.
        """

    def predict(self, x: Tensor) -> Tensor:
        """float32 [n, *shape] to probabilities [n, classes] or values [n, 1]."""

    def optimizer(self, schedule: Schedule) -> Optimizer:
        """What trains it."""


def create(
    config: TrainConfig, task: Task, policy: str = "float32", *, unfrozen: bool = False
) -> Network:
    """A network with fresh weights, or pretrained ones, in the API that is configured.

    Args:
        config: which.
        task: what it is to learn.
        policy: the dtype policy of Keras layers.
        unfrozen: whether a pretrained backbone is trained too.

    Raises:
        ConfigError: the model cannot learn this task.
    """
    if config.api == "core":
        return CoreNetwork(config, task)
    return KerasNetwork(config, task, build(config, task, policy, unfrozen=unfrozen))


def detached(network: Network, config: TrainConfig) -> Network:
    """The same network for serving: float32, and its variables on this device alone."""
    plain = create(config, network.task)
    copy_weights(network, plain)
    return plain


def copy_weights(source: Network, target: Network) -> None:
    """Give a network the weights of another one of the same configuration."""
    for own, trained in zip(target.weights, source.weights, strict=True):
        own.assign(trained.numpy())


def pretrained_note(config: TrainConfig, network: Network) -> tuple[str, ...]:
    """A sentence about what a pretrained backbone is given, where nobody said it."""
    return pretrained.note(config, network.model) if isinstance(network, KerasNetwork) else ()


class KerasNetwork:
    """A Keras model."""

    def __init__(self, config: TrainConfig, task: Task, model: Model) -> None:
        self.task = task
        self.model = model
        self._scoring = scoring(model)
        self._plain_descent = config.model == "linear"
        self.trainable = [variable.value for variable in model.trainable_variables]
        self.weights = [variable.value for variable in model.weights]
        self.state = [variable.value for variable in model.variables]
        # Not the model: then copies of its variables would be saved, which no function reads.
        self.trackables = self.state

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See Network; dropout draws on seeds of Keras's own, which are part of the state."""
        return self._scoring(x, training=seed is not None)

    def predict(self, x: Tensor) -> Tensor:
        """See Network."""
        return self.model(x, training=False)

    def optimizer(self, schedule: Schedule) -> Optimizer:
        """Adam; gradient descent for the linear model."""
        kind = keras.optimizers.SGD if self._plain_descent else keras.optimizers.Adam
        return _KerasOptimizer(kind(_KerasSchedule(schedule)), self.model.trainable_variables)


class _KerasOptimizer:
    def __init__(self, optimizer: Any, variables: list[Any]) -> None:
        optimizer.build(variables)
        self._optimizer, self._variables = optimizer, variables
        self.state = [variable.value for variable in optimizer.variables]

    def apply(self, gradients: Sequence[Tensor]) -> None:
        self._optimizer.apply(gradients, self._variables)


class _KerasSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def __call__(self, step: Tensor) -> Tensor:
        return self._schedule(tf.convert_to_tensor(step))


class CoreNetwork:
    """A network in plain TensorFlow."""

    def __init__(self, config: TrainConfig, task: Task) -> None:
        self.task = task
        self._plain_descent = config.model == "linear"
        made = lowlevel.Weights(config.seed)
        self._network = lowlevel.network(config, task, made)
        self._rescaled = task.classes is None and (config.model != "linear" or task.target_std != 1)
        self.trainable = self.weights = self.state = made.variables
        self.trackables = list(made.variables)

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See Network."""
        return self._network.scores(x, seed)

    def predict(self, x: Tensor) -> Tensor:
        """See Network."""
        scores = self.scores(x)
        if self.task.classes is not None:
            return tf.nn.softmax(scores)
        if self._rescaled:
            return scores * self.task.target_std + self.task.target_mean
        return scores

    def optimizer(self, schedule: Schedule) -> Optimizer:
        """Adam; gradient descent for the linear model."""
        kind = lowlevel.GradientDescent if self._plain_descent else lowlevel.Adam
        return kind(self.trainable, schedule)
