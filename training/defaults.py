"""How each model is trained where nothing else is asked for. Imports nothing heavy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Defaults:
    """Settings that suit a model; see TrainConfig for what they mean."""

    epochs: int
    batch_size: int
    learning_rate: float | None
    augmentation: float = 0.0
    validation_fraction: float = 0.1
    patience: int = 0


# Plain gradient descent: all examples in each step, and nothing held back from it.
_LINEAR = Defaults(2000, 65_536, learning_rate=None, validation_fraction=0.0)

_DIGITS = {
    "linear": _LINEAR,
    "logistic": Defaults(40, 64, 0.03, validation_fraction=0.05),
    "mlp": Defaults(50, 64, 0.003, augmentation=0.4, validation_fraction=0.05),
    "cnn": Defaults(40, 64, 0.003, augmentation=1.0, validation_fraction=0.05),
}
_IMAGES = {
    "linear": _LINEAR,
    "logistic": Defaults(30, 256, 0.003, patience=8),
    "mlp": Defaults(20, 128, 0.001, patience=6),
    "cnn": Defaults(8, 128, 0.004, augmentation=1.0, validation_fraction=0.02),
}
# A folder may hold a few hundred images: small batches, and epochs until nothing gets better.
_FOLDERS = {
    "linear": _LINEAR,
    "logistic": Defaults(60, 32, 0.003, patience=12),
    "mlp": Defaults(60, 32, 0.001, patience=12),
    "cnn": Defaults(60, 32, 0.003, augmentation=0.5, patience=15),
}
# The lecture's net is twice as dear as ours and has nothing to normalize it: fewer, gentler steps.
_LECTURE = Defaults(4, 128, 0.0015, augmentation=0.5, validation_fraction=0.02)
_TABLES = {
    "linear": _LINEAR,
    "logistic": Defaults(100, 64, 0.01, patience=20),
    "mlp": Defaults(100, 64, 0.001, patience=20),
    "cnn": Defaults(20, 64, 0.001),
}
MODELS = tuple(_DIGITS)
# Those that answer with a probability for each label.
CLASSIFIERS = ("logistic", "mlp", "cnn")


def defaults_for(model: str, data: str, preset: str = "default") -> Defaults:
    """What suits a model on a data set."""
    if data.startswith("folder:"):
        return _FOLDERS[model]
    if preset == "lecture" and data != "digits":
        return _LECTURE
    if data == "digits":
        return _DIGITS[model]
    return (_TABLES if data.startswith("csv:") else _IMAGES)[model]


def hidden_for(data: str) -> tuple[int, ...]:
    """Sizes of an mlp's hidden layers on a data set."""
    if data == "digits":
        return (256,)
    return (64, 32) if data.startswith("csv:") else (512, 256)
