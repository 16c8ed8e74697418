"""How each model is trained where nothing else is asked for. Imports nothing heavy."""

import gzip
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path


@dataclass(frozen=True)
class Defaults:
    """Settings that suit a model; see TrainConfig for what they mean."""

    epochs: int
    batch_size: int
    learning_rate: float | None
    augmentation: float = 0.0
    validation_fraction: float = 0.1
    patience: int = 0
    l2: float = 0.0


# Plain gradient descent: all examples in each step, and nothing held back from it.
_LINEAR = Defaults(2000, 65_536, learning_rate=None, validation_fraction=0.0)

_DIGITS = {
    "linear": _LINEAR,
    "logistic": Defaults(40, 64, 0.03, validation_fraction=0.05),
    "mlp": Defaults(50, 64, 0.003, augmentation=0.4, validation_fraction=0.05),
    "cnn": Defaults(52, 64, 0.003, augmentation=1.0, validation_fraction=0.05),
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
# Only a last layer is trained, on features that are good already.
_PRETRAINED = Defaults(60, 32, 0.1, augmentation=0.5, patience=15)
# The lecture's net is twice as dear as ours and has nothing to normalize it: fewer, gentler steps.
_LECTURE = Defaults(4, 128, 0.0015, augmentation=0.5, validation_fraction=0.02)
_TABLES = {
    "linear": _LINEAR,
    "logistic": Defaults(100, 64, 0.01, patience=20, l2=1.0),
    "mlp": Defaults(100, 64, 0.001, patience=20, l2=4.0),
    "cnn": Defaults(20, 64, 0.001),
}
# Small tables cannot spare rows for early stopping: a penalty on large weights takes its place.
# It is strong enough to train until nothing changes any more, as scikit-learn does.
_SMALL_TABLE = 2000
_SMALL_TABLES = _TABLES | {
    "logistic": Defaults(300, _SMALL_TABLE, 0.1, validation_fraction=0.0, l2=1.0),
    "mlp": Defaults(30, 32, 0.003, validation_fraction=0.0, l2=4.0),
}
# Steps that an mlp takes on a small table, where they are more than its epochs have.
_MLP_STEPS = 800
MODELS = tuple(_DIGITS)
# Those that answer with a probability for each label.
CLASSIFIERS = ("logistic", "mlp", "cnn")


def defaults_for(
    model: str, data: str, preset: str = "default", *, pretrained: bool = False
) -> Defaults:
    """What suits a model on a data set."""
    if pretrained:
        return _PRETRAINED
    if data.startswith("folder:"):
        return _FOLDERS[model]
    if preset == "lecture" and data != "digits":
        return _LECTURE
    if data == "digits":
        return _DIGITS[model]
    if not data.startswith("csv:"):
        return _IMAGES[model]
    rows = _rows(Path(data.removeprefix("csv:")).expanduser())
    if not 0 < rows <= _SMALL_TABLE:
        return _TABLES[model]
    small = _SMALL_TABLES[model]
    if model != "mlp":
        return small
    return replace(small, epochs=max(small.epochs, _MLP_STEPS * small.batch_size // rows))


def _rows(path: Path) -> int:
    """How many lines a table has below its header, about, and not more than matters here.

    0 where the file cannot be read, which is reported when its rows are.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return max(0, sum(1 for _ in islice(file, _SMALL_TABLE + 2)) - 1)
    except (OSError, EOFError):
        return 0


def hidden_for(data: str) -> tuple[int, ...]:
    """Sizes of an mlp's hidden layers on a data set."""
    if data == "digits":
        return (256,)
    return (64, 32) if data.startswith("csv:") else (512, 256)
