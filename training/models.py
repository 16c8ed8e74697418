"""The networks, in Keras: float32 [n, h, w, c] in 0…1 to softmax probabilities [n, classes]."""

from collections.abc import Callable
from typing import Any

from training.tensorflow_setup import keras

# A keras.Model; Keras has no types that a checker could use.
Model = Any
layers = keras.layers


def build(name: str, shape: tuple[int, ...], classes: int) -> Model:
    """A network with fresh weights, not compiled.

    Args:
        name: "logistic", "mlp" or "cnn".
        shape: of one image, [h, w, c].
        classes: how many probabilities it gives.
    """
    return keras.Sequential(
        [
            keras.Input(shape, name="image"),
            *_HIDDEN[name](),
            layers.Dense(classes, activation="softmax", name="probabilities"),
        ],
        name=name,
    )


def augmenter(shape: tuple[int, ...], strength: float) -> Model:
    """Turns, moves and zooms images at random; what comes in from outside is background.

    Args:
        shape: of one image, [h, w, c].
        strength: 1 for up to 10 degrees, 8 % of the side and 10 % of the size.
    """
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.RandomRotation(strength * 10 / 360, fill_mode="constant"),
            layers.RandomTranslation(strength * 0.08, strength * 0.08, fill_mode="constant"),
            layers.RandomZoom(strength * 0.1, fill_mode="constant"),
        ],
        name="augmentation",
    )


def _logistic() -> list[Any]:
    """Softmax regression: one weight for each pixel and class."""
    return [layers.Flatten()]


def _mlp() -> list[Any]:
    return [layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dropout(0.3)]


def _cnn() -> list[Any]:
    return [
        layers.Conv2D(24, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(48, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.4),
        layers.Dense(96, activation="relu"),
    ]


_HIDDEN: dict[str, Callable[[], list[Any]]] = {"logistic": _logistic, "mlp": _mlp, "cnn": _cnn}
