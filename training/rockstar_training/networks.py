"""The networks: Keras models, the networks in plain TensorFlow, and their common interface.

Networks map float32 [n, h, w, c] or [n, width] to softmax probabilities, [n, classes], or for a
regression to one value, [n, 1]. The last layer converts scores (logits) into that output; training
uses the scores, which are more precise.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_training import lowlevel, pretrained
from rockstar_training.config import TrainConfig
from rockstar_training.prepared_data import Task, require_suitable
from rockstar_training.tensorflow_setup import Tensor, keras, tf

# Keras and TensorFlow have no types: a keras.Model, a keras.Layer, and a tf.Variable.
Model = Any
Layer = Any
Variable = Any
# Returns the learning rate at a step, counted from 0.
Schedule = Callable[[Tensor], Tensor]

layers = keras.layers
# The largest side of the image after the last pooling of the convolutional network.
_MAX_LAST_MAP = 5


class Network(ABC):
    """A network that can be trained and exported.

    `get_weights`, `set_weights`, `stop_training` and `optimizer` are the part of a keras.Model that
    Keras' callbacks use.
    """

    def __init__(
        self, task: Task, trainable: list[Variable], weights: list[Variable], state: list[Variable]
    ) -> None:
        self.task = task
        self.trainable = trainable  # gradients are computed for these
        self.weights = weights  # the output depends on these, in the same order for both APIs
        self.state = list(state)  # training changes these; after `compile`, the optimizer's, too
        # Own the variables, for the export. Not a Keras model: then copies of its variables would
        # be saved, which no function reads.
        self.trackables = list(state)
        self.optimizer: Any = None
        self.stop_training = False

    @abstractmethod
    def compile(self, schedule: Schedule) -> None:
        """Create the optimizer: Adam; gradient descent for the linear model."""

    @abstractmethod
    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """Compute logits, or a regression's value in standard units.

        Args:
            x: float32 [n, *shape].
            seed: int64 [2], of the dropout in training; None as in serving, without dropout.
        """

    @abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """Map float32 [n, *shape] to probabilities [n, classes] or values [n, 1]."""

    def get_weights(self) -> list[NDArray[Any]]:
        """Return the values of `weights`."""
        return [np.asarray(variable.numpy()) for variable in self.weights]

    def set_weights(self, weights: Sequence[NDArray[Any]]) -> None:
        """Set the values of `weights`."""
        for variable, weight in zip(self.weights, weights, strict=True):
            variable.assign(weight)


def create(
    config: TrainConfig, task: Task, policy: str = "float32", *, unfrozen: bool = False
) -> Network:
    """Create a network with new, or pretrained, weights in the configured API.

    Keras layers get the dtype policy. If unfrozen, a pretrained backbone is trained, too. Raises a
    ConfigError if the model cannot learn this task.
    """
    if config.api == "core":
        return CoreNetwork(config, task)
    return KerasNetwork(config, task, build(config, task, policy, unfrozen=unfrozen))


def detach(network: Network, config: TrainConfig) -> Network:
    """Copy a network for serving: float32, with its variables on this device alone."""
    plain = create(config, network.task)
    plain.set_weights(network.get_weights())
    return plain


class KerasNetwork(Network):
    """A Keras model; its dropout uses Keras' own seeds, which are part of the state."""

    def __init__(self, config: TrainConfig, task: Task, model: Model) -> None:
        trainable, weights, state = (
            [variable.value for variable in variables]
            for variables in (model.trainable_variables, model.weights, model.variables)
        )
        super().__init__(task, trainable, weights, state)
        self.model = model
        self._scoring = keras.Model(model.inputs, model.get_layer("scores").output)
        self._kind = keras.optimizers.SGD if config.model == "linear" else keras.optimizers.Adam

    def compile(self, schedule: Schedule) -> None:
        """See Network."""
        self.optimizer = self._kind(schedule)
        self.optimizer.build(self.model.trainable_variables)
        self.state += [variable.value for variable in self.optimizer.variables]

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See Network."""
        return self._scoring(x, training=seed is not None)

    def predict(self, x: Tensor) -> Tensor:
        """See Network."""
        return self.model(x, training=False)


class CoreNetwork(Network):
    """A network in plain TensorFlow."""

    def __init__(self, config: TrainConfig, task: Task) -> None:
        made = lowlevel.Weights(config.seed)
        self._network = lowlevel.network(config, task, made)
        super().__init__(task, made.variables, made.variables, made.variables)
        self._linear = config.model == "linear"

    def compile(self, schedule: Schedule) -> None:
        """See Network."""
        kind = lowlevel.GradientDescent if self._linear else lowlevel.Adam
        self.optimizer = kind(self.trainable, schedule)
        self.state += self.optimizer.state

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See Network."""
        return self._network.scores(x, seed)

    def predict(self, x: Tensor) -> Tensor:
        """See Network."""
        scores = self.scores(x)
        if self.task.classes is not None:
            return tf.nn.softmax(scores)
        if self._linear and self.task.target_std == 1:
            return scores
        return scores * self.task.target_std + self.task.target_mean


def build(
    config: TrainConfig, task: Task, policy: str = "float32", *, unfrozen: bool = False
) -> Model:
    """Build a Keras model, as `create` does; variables and the output are float32 in any case."""
    require_suitable(config, task)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        if config.pretrained is not None:
            return pretrained.build(config, task, unfrozen=unfrozen)
        if config.model == "mlp":
            hidden = _mlp(config.hidden, config.activation)
        elif config.model == "cnn":
            hidden = _lecture_cnn() if config.preset == "lecture" else _cnn(task.shape)
        else:
            hidden = [layers.Flatten(name="flat")]
    finally:
        keras.config.set_dtype_policy(before)
    if task.classes is not None:
        output = [layers.Activation("softmax", dtype="float32", name="probabilities")]
    elif config.model == "linear" and task.target_std == 1:
        output = []  # the weights are those of the line
    else:
        mean, std = task.target_mean, task.target_std
        output = [layers.Rescaling(std, mean, dtype="float32", name="value")]
    scores = layers.Dense(task.outputs, dtype="float32", name="scores")
    stack = [keras.Input(task.shape, name="input"), *hidden, scores, *output]
    return keras.Sequential(stack, name=config.model)


@dataclass(frozen=True)
class LayerSize:
    """What a layer of a Keras model computes and costs, for one example."""

    name: str
    kind: str  # Keras' class, such as "Conv2D"
    shape: tuple[int, ...]  # of the output, without the batch
    parameters: int
    multiply_adds: int  # in convolutions and dense layers


def layer_sizes(model: Model) -> tuple[LayerSize, ...]:
    """List the layers of a Keras model in order; a backbone is one layer."""
    return tuple(
        LayerSize(
            layer.name,
            type(layer).__name__,
            tuple(int(size or 0) for size in layer.output.shape[1:]),
            int(layer.count_params()),
            multiply_adds(layer),
        )
        for layer in model.layers
        if not isinstance(layer, layers.InputLayer)
    )


def multiply_adds(layer: Layer) -> int:
    """Count the multiply-adds per example in convolutions and dense layers, of a model or layer."""
    if isinstance(layer, keras.Model):
        return sum(map(multiply_adds, layer.layers))
    if isinstance(layer, layers.Dense):
        return int(prod(layer.output.shape[1:]) * layer.kernel.shape[0])
    if isinstance(layer, layers.DepthwiseConv2D):
        return int(prod(layer.output.shape[1:]) * prod(layer.kernel.shape[:2]))
    if isinstance(layer, layers.Conv2D):
        return int(prod(layer.output.shape[1:]) * prod(layer.kernel.shape[:3]))
    return 0


def _mlp(sizes: tuple[int, ...], activation: str) -> list[Layer]:
    """Dense layers, the wide ones with dropout."""
    # Of LiteRT's operations.
    function = lowlevel.ACTIVATIONS["arctan"] if activation == "arctan" else activation
    stack: list[Layer] = [layers.Flatten(name="flat")]
    for number, size in enumerate(sizes, start=1):
        stack.append(layers.Dense(size, name=f"dense_{number}"))
        name = f"{activation}_{number}"
        if activation == "prelu":
            stack.append(layers.PReLU(name=name))
        else:
            stack.append(layers.Activation(function, name=name))
        if size >= 128:
            stack.append(layers.Dropout(0.3, name=f"dropout_{number}"))
    return stack


def _lecture_cnn() -> list[Layer]:
    """Two 5x5 convolutions, each pooled, and 1,024 units: 13.9 M multiply-adds for 28 x 28."""
    return [
        layers.Conv2D(32, 5, padding="same", activation="relu", name="conv_1"),
        layers.MaxPooling2D(padding="same", name="pool_1"),
        layers.Conv2D(64, 5, padding="same", activation="relu", name="conv_2"),
        layers.MaxPooling2D(padding="same", name="pool_2"),
        layers.Flatten(name="flat"),
        layers.Dropout(0.4, name="dropout"),
        layers.Dense(1024, activation="relu", name="dense_1"),
    ]


def _cnn(shape: tuple[int, ...]) -> list[Layer]:
    """3x3 convolutions with batch normalization, for images of this shape.

    Larger images are halved more often, until few cells are left; smaller ones get fewer channels,
    so that the cost stays in proportion. 6.1 M multiply-adds for 28 x 28 x 1.
    """
    factor = min(1.0, sqrt(shape[0] * shape[1]) / 28)
    widths = [max(8, round(factor * width)) for width in (24, 40, 80)]
    stack: list[Layer] = []
    side, number = min(shape[:2]), 1
    while number <= len(widths) or side > _MAX_LAST_MAP:
        for name in ("2a", "2b") if number == 2 else (str(number),):
            stack += _block(widths[min(number, len(widths)) - 1], name)
        if side >= 2:  # more than a single cell
            stack.append(layers.MaxPooling2D(name=f"pool_{number}"))
        side, number = side // 2, number + 1
    return [*stack, layers.Flatten(name="flat"), layers.Dropout(0.4, name="dropout")]


def _block(channels: int, name: str) -> list[Layer]:
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return [
        layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"conv_{name}"),
        # Synchronized, a batch is normalized the same on one replica or on several.
        layers.BatchNormalization(synchronized=several, momentum=0.9, name=f"norm_{name}"),
        layers.ReLU(name=f"relu_{name}"),
    ]
