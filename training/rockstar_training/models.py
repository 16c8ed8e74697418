"""The networks, in Keras: float32 [n, h, w, c] or [n, width] to what is asked of them.

Classifiers give softmax probabilities [n, classes], regressions one value [n, 1]. The last layer
turns scores into that answer; training looks at the scores, which lose nothing to rounding.
"""

from math import prod, sqrt
from typing import Any

from rockstar_training import pretrained
from rockstar_training.config import TrainConfig
from rockstar_training.task import Task, require_suitable
from rockstar_training.tensorflow_setup import keras, tf

# A keras.Model, and one of its layers; Keras has no types that a checker could use.
Model = Any
Layer = Any
layers = keras.layers

# Sides of the image that the convolutional net's last pooling leaves at most.
_SMALLEST_MAP = 5


def build(
    config: TrainConfig, task: Task, policy: str = "float32", *, unfrozen: bool = False
) -> Model:
    """A network with fresh weights, or pretrained ones, not compiled.

    Args:
        config: which model, activation, hidden sizes, preset.
        task: what it is to learn.
        policy: the layers' dtype policy; variables and the answer are float32 in any case.
        unfrozen: whether a pretrained backbone is trained too.

    Raises:
        ConfigError: the model cannot learn this task.
    """
    require_suitable(config, task)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        if config.pretrained is not None:
            return pretrained.build(config, task, unfrozen=unfrozen)
        hidden = _hidden(config, task)
    finally:
        keras.config.set_dtype_policy(before)
    return keras.Sequential(
        [
            keras.Input(task.shape, name="input"),
            *hidden,
            layers.Dense(task.outputs, dtype="float32", name="scores"),
            *_answer(config, task),
        ],
        name=config.model,
    )


def scoring(model: Model) -> Model:
    """The same network without its last step: logits, or the value in standard units."""
    return keras.Model(model.inputs, model.get_layer("scores").output)


def multiply_adds(model: Model) -> int:
    """Multiplications with an addition that one example costs in convolutions and dense layers."""
    return sum(_layer_multiply_adds(layer) for layer in model.layers)


def _layer_multiply_adds(layer: Layer) -> int:
    if isinstance(layer, layers.Dense):
        return int(prod(layer.output.shape[1:]) * layer.kernel.shape[0])
    if isinstance(layer, layers.Conv2D):
        height, width, channels = layer.kernel.shape[:3]
        return int(prod(layer.output.shape[1:]) * height * width * channels)
    return 0


def _answer(config: TrainConfig, task: Task) -> list[Layer]:
    if task.classes is not None:
        return [layers.Activation("softmax", dtype="float32", name="probabilities")]
    if config.model == "linear" and task.target_std == 1:  # the weights are those of the line
        return []
    return [layers.Rescaling(task.target_std, task.target_mean, dtype="float32", name="value")]


def _hidden(config: TrainConfig, task: Task) -> list[Layer]:
    if config.model == "mlp":
        return _mlp(config.hidden, config.activation)
    if config.model == "cnn":
        return _lecture_cnn() if config.preset == "lecture" else _cnn(task.shape)
    return [layers.Flatten(name="flat")]


def _mlp(sizes: tuple[int, ...], activation: str) -> list[Layer]:
    """Dense layers; the widest ones are thinned out in training, by dropout."""
    stack: list[Layer] = [layers.Flatten(name="flat")]
    for number, size in enumerate(sizes, start=1):
        stack.append(layers.Dense(size, name=f"dense_{number}"))
        stack.append(_activation(activation, f"{activation}_{number}"))
        if size >= 128:
            stack.append(layers.Dropout(0.3, name=f"dropout_{number}"))
    return stack


def _activation(name: str, layer_name: str) -> Layer:
    if name == "prelu":
        return layers.PReLU(name=layer_name)
    return layers.Activation(arctan if name == "arctan" else name, name=layer_name)


def arctan(x: Any) -> Any:
    """The angle, -pi/2 … pi/2, whose tangent is x; written as LiteRT knows it."""
    return tf.atan2(x, tf.ones_like(x))


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
    """3x3 convolutions with batch normalization, for an image of this shape.

    The larger the image, the more often it is halved until few cells are left; the smaller, the
    fewer channels, so that its cost stays in proportion. 6.1 M multiply-adds for 28 x 28 x 1.
    """
    side = min(shape[:2])
    factor = min(1.0, sqrt(shape[0] * shape[1]) / 28)
    narrow, middle, wide = (max(8, round(factor * width)) for width in (24, 40, 80))
    stack = [*_block(narrow, "1"), layers.MaxPooling2D(name="pool_1")]
    side //= 2
    stack += [*_block(middle, "2a"), *_block(middle, "2b"), *_pool(side, "pool_2")]
    side //= 2
    stack += [*_block(wide, "3"), *_pool(side, "pool_3")]
    side //= 2
    number = 4
    while side > _SMALLEST_MAP:
        stack += [*_block(wide, str(number)), *_pool(side, f"pool_{number}")]
        side, number = side // 2, number + 1
    return [*stack, layers.Flatten(name="flat"), layers.Dropout(0.4, name="dropout")]


def _pool(side: int, name: str) -> list[Layer]:
    """Halve, where there is something to halve."""
    return [layers.MaxPooling2D(name=name)] if side >= 2 else []


def _block(channels: int, name: str) -> list[Layer]:
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return [
        layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"conv_{name}"),
        # Over all replicas: a batch spread over many is normalized as it would be on one.
        layers.BatchNormalization(synchronized=several, momentum=0.9, name=f"norm_{name}"),
        layers.ReLU(name=f"relu_{name}"),
    ]
