"""What to train, and how: settings with defaults for each model. Imports nothing heavy."""

import math
import re
from dataclasses import dataclass

from training.errors import ConfigError

DATA_SETS = ("digits",)
DEFAULT_SEED = 1
DEFAULT_TEST_FRACTION = 0.2
# As the contract demands of a model's name, which is also the name of a folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Defaults:
    """How a model is trained where nothing else is asked for."""

    epochs: int
    batch_size: int
    learning_rate: float
    augmentation: float


DEFAULTS = {
    "logistic": Defaults(epochs=40, batch_size=64, learning_rate=0.03, augmentation=0.0),
    "mlp": Defaults(epochs=50, batch_size=64, learning_rate=0.003, augmentation=0.6),
    "cnn": Defaults(epochs=40, batch_size=64, learning_rate=0.004, augmentation=0.6),
}
MODELS = tuple(DEFAULTS)


@dataclass(frozen=True)
class TrainConfig:
    """One training run; `config_for` fills in a model's defaults.

    Attributes:
        name: the model is published under it; a letter or digit, then also "_", "." and "-".
        model: which network, one of MODELS.
        data: which data set, one of DATA_SETS.
        epochs: how often the training images are seen.
        batch_size: images in one step.
        learning_rate: of Adam, at the start; it decays to zero along a cosine.
        augmentation: how far training images are turned, moved and zoomed at random: 0 not at
            all, 1 up to 10 degrees, 8 % and 10 %.
        seed: of the split, the initial weights, the shuffling and the augmentation.
        test_fraction: share of the images that is held out.

    Raises:
        ConfigError: a value that cannot be; the message starts with the field.
    """

    name: str
    model: str
    data: str
    epochs: int
    batch_size: int
    learning_rate: float
    augmentation: float
    seed: int = DEFAULT_SEED
    test_fraction: float = DEFAULT_TEST_FRACTION

    def __post_init__(self) -> None:
        _require(bool(_NAME.fullmatch(self.name)), "name", self.name, "letters, digits, _ . -")
        _require_one_of(self.model, "model", MODELS)
        _require_one_of(self.data, "data", DATA_SETS)
        _require(1 <= self.epochs <= 10_000, "epochs", self.epochs, "1 to 10000")
        _require(1 <= self.batch_size <= 65_536, "batch_size", self.batch_size, "1 to 65536")
        rate = self.learning_rate
        _require(0 < rate <= 10, "learning_rate", rate, "more than 0 and at most 10")
        _require(0 <= self.augmentation <= 3, "augmentation", self.augmentation, "0 to 3")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        _require(0 < self.test_fraction < 1, "test_fraction", self.test_fraction, "between 0 and 1")


def config_for(
    model: str,
    *,
    data: str = DATA_SETS[0],
    name: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    augmentation: float | None = None,
    seed: int = DEFAULT_SEED,
    test_fraction: float = DEFAULT_TEST_FRACTION,
) -> TrainConfig:
    """The configuration for a model; None stands for the model's default, and for its name.

    Raises:
        ConfigError: a value that cannot be; the message starts with the field.
    """
    _require_one_of(model, "model", MODELS)
    defaults = DEFAULTS[model]
    return TrainConfig(
        name=model if name is None else name,
        model=model,
        data=data,
        epochs=defaults.epochs if epochs is None else epochs,
        batch_size=defaults.batch_size if batch_size is None else batch_size,
        learning_rate=defaults.learning_rate if learning_rate is None else learning_rate,
        augmentation=defaults.augmentation if augmentation is None else augmentation,
        seed=seed,
        test_fraction=test_fraction,
    )


def _require_one_of(value: str, field: str, known: tuple[str, ...]) -> None:
    _require(value in known, field, value, f"one of {', '.join(known)}")


def _require(right: bool, field: str, value: object, expected: str) -> None:
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{field}: expected {expected}, got {value!r}")
