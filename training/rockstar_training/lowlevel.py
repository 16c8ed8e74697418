"""The networks in plain TensorFlow: variables, matrix products, convolutions, and optimizers.

They compute the same as their Keras namesakes in `networks.py`, and have their weights in the same
order. `scores` returns the output of the last layer, before softmax; with a `seed`, as in training,
it applies dropout.
"""

from collections.abc import Callable, Sequence
from math import prod

from rockstar_training.config import TrainConfig
from rockstar_training.prepared_data import Task, require_suitable
from rockstar_training.tensorflow_setup import Tensor, tf

DROPOUT = 0.4
# All copies of a variable on several devices get the same new value.
SAME = tf.VariableAggregation.ONLY_FIRST_REPLICA

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": tf.nn.relu,
    "sigmoid": tf.sigmoid,
    "tanh": tf.tanh,
    "gelu": lambda x: 0.5 * x * (1 + tf.math.erf(x / tf.sqrt(2.0))),
    "softsign": lambda x: x / (1 + tf.abs(x)),
    "arctan": lambda x: tf.atan2(x, tf.ones_like(x)),
}


class Weights:
    """Creates variables, reproducibly by the seed, and keeps them in order."""

    def __init__(self, seed: int) -> None:
        self.variables: list[tf.Variable] = []
        self._seed = seed

    def kernel(self, *shape: int) -> tf.Variable:
        """Create random weights, [..., inputs, outputs], by Glorot and Bengio (2010)."""
        seed = [self._seed, len(self.variables)]
        limit = (6 / (prod(shape[:-1]) + prod(shape[:-2]) * shape[-1])) ** 0.5
        return self._add(tf.random.stateless_uniform(shape, seed, -limit, limit))

    def zeros(self, size: int) -> tf.Variable:
        """Create a weight of 0 for each output."""
        return self._add(tf.zeros([size]))

    def _add(self, start: Tensor) -> tf.Variable:
        self.variables.append(tf.Variable(start, aggregation=SAME))
        return self.variables[-1]


class Linear:
    """y = xW + b: linear regression; with softmax, logistic regression."""

    def __init__(self, inputs: int, outputs: int, weights: Weights) -> None:
        self.w, self.b = weights.kernel(inputs, outputs), weights.zeros(outputs)

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """float32 [n, ...] to float32 [n, outputs]."""
        return flat(x) @ self.w + self.b


class FullyConnected:
    """Hidden layers activation(xW + b), the wide ones with dropout 0.3, and a linear layer."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int, activation: str, weights: Weights
    ) -> None:
        self.hidden: list[tuple[tf.Variable, ...]] = []
        self.activation = activation
        for size in hidden:
            layer = weights.kernel(inputs, size), weights.zeros(size)
            slope = (weights.zeros(size),) if activation == "prelu" else ()
            self.hidden.append((*layer, *slope))
            inputs = size
        self.w, self.b = weights.kernel(inputs, outputs), weights.zeros(outputs)

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """float32 [n, ...] to float32 [n, outputs]."""
        x = flat(x)
        for number, (w, b, *slope) in enumerate(self.hidden):
            x = x @ w + b
            x = prelu(x, *slope) if slope else ACTIVATIONS[self.activation](x)
            if seed is not None and w.shape[1] >= 128:
                x = tf.nn.experimental.stateless_dropout(
                    x, 0.3, seed + tf.constant([0, number], seed.dtype)
                )
        return x @ self.w + self.b


class Convolutional:
    """The lecture's network: 5x5x32, pool, 5x5x64, pool, dropout, 1,024 units, a linear layer."""

    def __init__(self, shape: tuple[int, ...], outputs: int, weights: Weights) -> None:
        height, width, channels = shape
        cells = -(-height // 4) * -(-width // 4)  # pooled twice
        self.w1, self.b1 = weights.kernel(5, 5, channels, 32), weights.zeros(32)
        self.w2, self.b2 = weights.kernel(5, 5, 32, 64), weights.zeros(64)
        self.w3, self.b3 = weights.kernel(cells * 64, 1024), weights.zeros(1024)
        self.w4, self.b4 = weights.kernel(1024, outputs), weights.zeros(outputs)

    def scores(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """float32 [n, h, w, c] to float32 [n, outputs]."""
        x = tf.nn.relu(tf.nn.conv2d(x, self.w1, strides=1, padding="SAME") + self.b1)
        x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")
        x = tf.nn.relu(tf.nn.conv2d(x, self.w2, strides=1, padding="SAME") + self.b2)
        x = flat(tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME"))
        if seed is not None:
            x = tf.nn.experimental.stateless_dropout(x, DROPOUT, seed)
        x = tf.nn.relu(x @ self.w3 + self.b3)
        return x @ self.w4 + self.b4


Core = Linear | FullyConnected | Convolutional


def network(config: TrainConfig, task: Task, weights: Weights) -> Core:
    """Create the configured network with new weights, or raise ConfigError as `networks.create`."""
    require_suitable(config, task)
    inputs, outputs = prod(task.shape), task.outputs
    if config.model == "cnn":
        return Convolutional(task.shape, outputs, weights)
    if config.model == "mlp":
        return FullyConnected(inputs, config.hidden, outputs, config.activation, weights)
    return Linear(inputs, outputs, weights)


def flat(x: Tensor) -> Tensor:
    """Flatten [n, ...] to [n, width]."""
    return tf.reshape(x, [-1, prod(x.shape[1:])])


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Return x where it is positive, elsewhere x times a trained slope."""
    return tf.maximum(x, 0.0) + slope * tf.minimum(x, 0.0)


class GradientDescent:
    """w ← w - rate · gradient."""

    def __init__(self, variables: Sequence[tf.Variable], rate: Callable[[Tensor], Tensor]) -> None:
        self.targets, self.rate = list(variables), rate
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=SAME)
        self.state = [self.steps]

    def apply(self, gradients: Sequence[Tensor]) -> None:
        """Take a step with the sum of the gradients of all devices."""
        gradients = tf.distribute.get_replica_context().all_reduce("SUM", list(gradients))
        rate = tf.cast(self.rate(self.steps), tf.float32)
        for variable, change in zip(self.targets, self.changes(gradients), strict=True):
            variable.assign_sub(rate * change)
        self.steps.assign_add(1)

    def changes(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the steps for a rate of 1."""
        return gradients


class Adam(GradientDescent):
    """Adam: steps along the moving mean of gradients, divided by their moving root mean square."""

    MEAN, SQUARE, TINY = 0.9, 0.999, 1e-7

    def __init__(self, variables: Sequence[tf.Variable], rate: Callable[[Tensor], Tensor]) -> None:
        super().__init__(variables, rate)
        options = {"trainable": False, "aggregation": SAME}
        self.means, self.squares = (
            [tf.Variable(tf.zeros(v.shape), **options) for v in self.targets] for _ in range(2)
        )
        self.state += self.means + self.squares

    def changes(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return bias-corrected means divided by square roots of mean squares."""
        step = tf.cast(self.steps + 1, tf.float32)
        changes = []
        for mean, square, gradient in zip(self.means, self.squares, gradients, strict=True):
            new_mean = self.MEAN * mean + (1 - self.MEAN) * gradient
            new_square = self.SQUARE * square + (1 - self.SQUARE) * gradient**2
            mean.assign(new_mean)
            square.assign(new_square)
            scale = tf.sqrt(1 - self.SQUARE**step) / (1 - self.MEAN**step)
            changes.append(scale * new_mean / (tf.sqrt(new_square) + self.TINY))
        return changes
