"""Pretrained backbones: trained networks of images with a new last layer.

A backbone is a .keras file or a network of keras.applications. Each has its own pixel range (-1…1,
0…255, channels reversed and centered). The conversion becomes part of the model, whose input is
0…1, as in the contract.
"""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rockstar_training.config import TrainConfig
from rockstar_training.errors import ConfigError
from rockstar_training.prepared_data import Task
from rockstar_training.tensorflow_setup import Tensor, keras, tf

# A keras.Model or layer.
Model = Any
layers = keras.layers

# The weights of networks of keras.applications, which Keras downloads once.
WEIGHTS = "imagenet"
# The minimum image size of all these networks.
_SMALLEST = 96
# Dropout before the new last layer, against overfitting on few images.
_DROPOUT = 0.2


def build(config: TrainConfig, task: Task, *, unfrozen: bool) -> Model:
    """Build a classifier on the configured backbone: float32 [n, h, w, c] in 0…1 to probabilities.

    If unfrozen, the backbone is trained, too, and not only the last layer. Raises a ConfigError if
    the backbone cannot be loaded, or not for such images.
    """
    backbone = _Backbone(*_load(config, task), unfrozen=unfrozen)
    images = keras.Input(task.shape, name="input")
    features = backbone(images)
    if len(features.shape) == 4:
        features = layers.GlobalAveragePooling2D(name="pool")(features)
    # Backbones differ in the scale and number of features. The same learning rate suits all if each
    # feature has unit variance and the vector a length of about 1.
    norm = layers.BatchNormalization(momentum=0.9, center=False, scale=False, name="norm")
    features = layers.Rescaling(features.shape[-1] ** -0.5, name="unit")(norm(features))
    features = layers.Dropout(_DROPOUT, name="dropout")(features)
    scores = layers.Dense(task.outputs, dtype="float32", name="scores")(features)
    output = layers.Activation("softmax", dtype="float32", name="probabilities")(scores)
    return keras.Model(images, output, name=config.model)


class _Backbone(keras.layers.Layer):  # type: ignore[misc]
    """Maps images in 0…1 to features, with batch normalization in inference mode."""

    def __init__(self, model: Model, pixels: str, *, unfrozen: bool) -> None:
        super().__init__(name="backbone", trainable=unfrozen)
        self.model, self.pixels = model, pixels
        self.model.trainable = unfrozen

    def call(self, images: Tensor) -> Tensor:
        height, width, channels = self.model.input_shape[1:]
        if images.shape[3] == 1 and channels == 3:
            images = tf.repeat(images, 3, axis=3)
        size = (height or images.shape[1], width or images.shape[2])
        if tuple(images.shape[1:3]) != size:
            images = tf.image.resize(images, size)
        return self.model(PIXEL_CONVERSIONS[self.pixels](images), training=False)


def pretrained_note(config: TrainConfig, network: Any) -> tuple[str, ...]:
    """Name the pixel range that was assumed for a network's backbone, unless it was configured."""
    if config.pretrained is None or config.pretrained_input != "auto":
        return ()
    pixels = network.model.get_layer("backbone").pixels
    return (
        f"{config.pretrained} is taken for a network of pixels as {pixels}; if it was trained on "
        "others, give --pretrained-input.",
    )


def _load(config: TrainConfig, task: Task) -> tuple[Model, str]:
    """Load a backbone that outputs features, and determine its pixel range."""
    source = config.pretrained or ""
    if source.endswith(".keras"):
        model = _features(_read(Path(source).expanduser()))
    else:
        model = _application(source, task)
    own_channels, channels = model.input_shape[3], task.shape[2]
    if own_channels not in (channels, 3):
        either = "3" if channels == 3 else f"{channels} or 3"
        raise ConfigError(
            f"pretrained: expected a backbone for images of {either} channels, {source} takes "
            f"{own_channels}"
        )
    auto = config.pretrained_input == "auto"
    return model, _own_pixels(model) if auto else config.pretrained_input


def _read(path: Path) -> Model:
    try:
        # Without optimizer and metrics, and without running code from the file.
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"pretrained: {path} cannot be loaded: {_first_sentence(error)}. Expected a model of "
            "Keras 3 without layers of your own and without Lambda layers, saved as .keras"
        ) from error
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(
            f"pretrained: expected a model with one input of images, [n, h, w, c], and one output, "
            f"{path} has the inputs {[each.shape for each in inputs]} and {len(outputs)} outputs"
        )
    return model


def _application(name: str, task: Task) -> Model:
    known = {_plain(each): each for each in dir(keras.applications) if each[0].isupper()}
    if _plain(name) not in known:
        raise ConfigError(
            f"pretrained: expected a .keras file or one of {', '.join(sorted(known.values()))}, "
            f"got {name!r}"
        )
    name = known[_plain(name)]
    shape = (max(task.shape[0], _SMALLEST), max(task.shape[1], _SMALLEST), 3)
    try:
        network = getattr(keras.applications, name)
        return network(include_top=False, weights=WEIGHTS, input_shape=shape)
    except Exception as error:  # Keras raises plain Exceptions if a download fails
        raise ConfigError(
            f"pretrained: {name} cannot be loaded: {_first_sentence(error)}. Without a connection, "
            f"save it where there is one, with keras.applications.{name}(include_top=False)"
            f".save('{name}.keras'), and give --pretrained {name}.keras"
        ) from error


def _features(model: Model) -> Model:
    """Remove the classification layer of a model, if it has one."""
    tail = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)][-2:]
    if isinstance(tail[-1], (layers.Activation, layers.Softmax)) and len(tail) == 2:
        tail.pop()
    if len(model.outputs[0].shape) == 4 or not isinstance(tail[-1], layers.Dense):
        return model
    return keras.Model(model.inputs[0], tail[-1].input, name=model.name)


def _own_pixels(model: Model) -> str:
    """Detect the pixel range of a model by its first layers and its name."""
    if _scales_itself(model):
        return "0-255"
    for each in (model, *_nested(model)):
        families = [known for known in _FAMILIES if _plain(each.name).startswith(known)]
        if families:
            return _FAMILIES[max(families, key=len)]
    return "0-1"


def _nested(model: Model) -> list[Model]:
    """List the models inside a model, outer ones first."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return [each for model in inner for each in (model, *_nested(model))]


def _scales_itself(model: Model) -> bool:
    """Check whether pixels are scaled before the first convolution; then the range is 0…255."""
    for layer in getattr(model, "operations", model.layers):
        if isinstance(layer, (layers.Rescaling, layers.Normalization)):
            return True
        if not isinstance(layer, keras.layers.Layer):  # arithmetic of preprocess_input
            return True
        if isinstance(layer, keras.Model):
            return _scales_itself(layer)
        if isinstance(layer, (layers.Conv2D, layers.Dense)):
            return False
    return False


def _imagenet(mode: str) -> Callable[[Tensor], Tensor]:
    preprocess = keras.applications.imagenet_utils.preprocess_input
    return lambda images: preprocess(255.0 * images, data_format="channels_last", mode=mode)


# Conversions from 0…1 to each pixel range; Keras calls them "tf", "caffe" and "torch", too.
PIXEL_CONVERSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "0-1": lambda images: images,
    "tf": lambda images: 2.0 * images - 1.0,
    "0-255": lambda images: 255.0 * images,
    "caffe": _imagenet("caffe"),
    "torch": _imagenet("torch"),
}
# Pixel ranges by model names of keras.applications; other models scale pixels themselves.
_FAMILIES = {
    "densenet": "torch",
    "inception": "tf",
    "mobilenet": "tf",
    "nasnet": "tf",
    "resnet": "caffe",
    **{f"resnet{depth}v2": "tf" for depth in (50, 101, 152)},
    "vgg": "caffe",
    "xception": "tf",
}


def _plain(name: str) -> str:
    """Normalize names such as "MobileNetV2", "mobilenet_v2" and "mobilenetv2_1.00_224"."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".") or type(error).__name__
