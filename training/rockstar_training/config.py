"""Settings of a training run: data sets, defaults by model, checks, and settings files.

Imports nothing heavy, so that wrong settings are reported before TensorFlow loads.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.text_files import read_text, utf8_name
from rockstar_training.errors import ConfigError, DataError

IMAGE_SETS = ("digits", "mnist", "fashion_mnist")
SYNTAX = f"{', '.join(IMAGE_SETS)}, folder:DIR or csv:FILE"


@dataclass(frozen=True)
class DataSpec:
    """A data set: a known set of images, a folder of class folders, or a table."""

    kind: Literal["images", "folder", "csv"]
    name: str  # in contracts and reports, without the parent folders
    path: Path = Path()  # of the folder or file


def parse_data(text: str) -> DataSpec:
    """Parse the name of a data set; raises a ConfigError if it does not match SYNTAX."""
    if text in IMAGE_SETS:
        return DataSpec("images", text)
    kind, colon, place = text.partition(":")
    if not colon or kind not in ("folder", "csv") or not place.strip():
        path = Path(text).expanduser()
        kind = "folder" if path.is_dir() else "csv"
        hint = f"; did you mean {kind}:{text}?" if text and path.exists() else ""
        raise ConfigError(f"data: expected {SYNTAX}, got {text!r}{hint}")
    path = Path(place).expanduser()
    name = f"{kind}:{utf8_name(path.resolve().name)}"
    return DataSpec("folder" if kind == "folder" else "csv", name, path)


DEFAULT_DATA = "digits"
DEFAULT_SEED = 1
DEFAULT_TEST_FRACTION = 0.2
ACTIVATIONS = ("relu", "sigmoid", "tanh", "gelu", "softsign", "prelu", "arctan")
Api = Literal["keras", "core"]
MixedPrecision = Literal["auto", "on", "off"]
ClassWeights = Literal["auto", "balanced", "none"]
# Ranges of pixel values: 0…1, 0…255, or a mode of keras.applications.
Pixels = Literal["0-1", "0-255", "tf", "torch", "caffe"]
PretrainedInput = Literal["auto", Pixels]
# Inputs of imported models.
Kind = Literal["image", "table", "tensor"]
Quantization = Literal["none", "dynamic", "float16", "int8"]
TaskName = Literal["classification", "regression"]
ColumnType = Literal["number", "category", "date"]
# Early stopping that is requested for a model without it in its defaults.
_VALIDATION, _PATIENCE = 0.1, 20
# The contract's rule for names of models, which are also names of folders.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Defaults:
    """Default settings of a model; see TrainConfig for their meaning."""

    epochs: int
    batch_size: int
    learning_rate: float | None
    augmentation: float = 0.0
    validation_fraction: float = 0.1
    patience: int = 0
    l2: float = 0.0


# Plain gradient descent: all examples in each step, no validation.
_LINEAR = Defaults(2000, 65_536, learning_rate=None, validation_fraction=0.0)

_DIGITS = {
    "logistic": Defaults(40, 64, 0.03, validation_fraction=0.05),
    "mlp": Defaults(50, 64, 0.003, augmentation=0.4, validation_fraction=0.05),
    "cnn": Defaults(52, 64, 0.003, augmentation=1.0, validation_fraction=0.05),
}
_IMAGES = {
    "logistic": Defaults(30, 256, 0.003, patience=8),
    "mlp": Defaults(20, 128, 0.001, patience=6),
    "cnn": Defaults(8, 128, 0.004, augmentation=1.0, validation_fraction=0.02),
}
# A folder may have only a few hundred images: small batches, many epochs, and early stopping.
_FOLDERS = {
    "logistic": Defaults(60, 32, 0.003, patience=12),
    "mlp": Defaults(60, 32, 0.001, patience=12),
    "cnn": Defaults(60, 32, 0.003, augmentation=0.5, patience=15),
}
# Only the last layer is trained, on good features.
_PRETRAINED = Defaults(60, 32, 0.1, augmentation=0.5, patience=15)
# The lecture's network is expensive and has no normalization: fewer, smaller steps.
_LECTURE = Defaults(4, 128, 0.0015, augmentation=0.5, validation_fraction=0.02)
_TABLES = {
    "logistic": Defaults(100, 64, 0.01, patience=20, l2=1.0),
    "mlp": Defaults(100, 64, 0.001, patience=20, l2=4.0),
    "cnn": Defaults(20, 64, 0.001),
}
# Small tables cannot spare rows for early stopping. A penalty on large weights replaces it.
_SMALL_TABLE = 2000
_SMALL_TABLES = _TABLES | {
    "logistic": Defaults(300, _SMALL_TABLE, 0.1, validation_fraction=0.0, l2=1.0),
    "mlp": Defaults(30, 32, 0.003, validation_fraction=0.0, l2=4.0),
}
# Minimum number of steps of an mlp on a small table.
_MLP_STEPS = 800
# The models that predict a probability for each label.
CLASSIFIERS = ("logistic", "mlp", "cnn")
MODELS = ("linear", *CLASSIFIERS)
# Known values, and ranges, of settings of training and import.
CHOICES: dict[str, tuple[str, ...]] = {
    "model": MODELS,
    "activation": ACTIVATIONS,
    "preset": ("default", "lecture"),
    "api": get_args(Api),
    "pretrained_input": get_args(PretrainedInput),
    "mixed_precision": get_args(MixedPrecision),
    "class_weights": get_args(ClassWeights),
    "quantize": get_args(Quantization),
    "task": get_args(TaskName),
    "types": get_args(ColumnType),
    "kind": get_args(Kind),
    "pixels": get_args(Pixels),
}
_RANGES = {
    "epochs": (1, 100_000),
    "fine_tune": (0, 100_000),
    "batch_size": (1, 65_536),
    "augmentation": (0, 3),
    "image_size": (4, 1024),
    "l2": (0, 1_000_000),
    "seed": (0, 2**32 - 1),
}


def defaults_for(
    model: str, data: str, preset: str = "default", *, pretrained: bool = False
) -> Defaults:
    """Return the default settings of a model on a data set."""
    if pretrained:
        return _PRETRAINED
    if model == "linear":
        return _LINEAR
    if data.startswith("folder:"):
        return _FOLDERS[model]
    if preset == "lecture" and data != "digits":
        return _LECTURE
    if data == "digits":
        return _DIGITS[model]
    if not data.startswith("csv:"):
        return _IMAGES[model]
    # Imported here because it loads NumPy.
    from rockstar_contract.csv_rows import read_table
    from rockstar_training.csv_tables import as_csv

    path = Path(data.removeprefix("csv:")).expanduser()
    try:
        # Counted as they are read later: lines may end with CR, and be part of a quoted text.
        content = as_csv(path.read_bytes(), path, notes=[])
        rows = len(read_table(content, str(path), most=_SMALL_TABLE + 1).rows)
    except (OSError, InvalidInputError, DataError):  # reported when the table is read
        rows = 0
    if not 0 < rows <= _SMALL_TABLE:
        return _TABLES[model]
    small = _SMALL_TABLES[model]
    if model != "mlp":
        return small
    return replace(small, epochs=max(small.epochs, _MLP_STEPS * small.batch_size // rows))


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run; `config_for` fills in defaults that suit a model.

    An invalid value raises a ConfigError, whose message starts with the field.
    """

    name: str  # of the published model; a letter or digit, then also "_", "." and "-"
    model: str  # type of the network, one of MODELS
    data: str  # the data set: "digits", "mnist", "folder:photos" or "csv:houses.csv", for example
    epochs: int  # maximum number of passes over the training data
    batch_size: int  # examples per step, over all devices and workers together
    # The peak; None, for the linear model only, computes a rate with which gradient descent
    # converges.
    learning_rate: float | None
    # Strength of random changes to training images: 0 for none, 1 for what suits the data, see
    # rockstar_training.augmentation.
    augmentation: float = 0.0
    activation: str = "relu"  # of an mlp's hidden layers, one of ACTIVATIONS
    hidden: tuple[int, ...] = ()  # sizes of an mlp's hidden layers
    preset: str = "default"  # of the cnn; "lecture" is 5x5x32, pool, 5x5x64, pool, 1024
    # Of the cnn: a backbone that gets a new last layer, a .keras file or a network of
    # keras.applications such as "MobileNetV2".
    pretrained: str | None = None
    pretrained_input: PretrainedInput = "auto"  # the backbone's pixel range; "auto" detects it
    # Additional epochs in which the backbone is trained, too, at a thousandth of the learning rate.
    fine_tune: int = 0
    api: Api = "keras"  # "core" for the networks in plain TensorFlow
    # Share of the training data used for validation; 0 for none, and then no early stopping.
    validation_fraction: float = 0.0
    # Strength of the penalty on large weights, relative to the loss summed over the training
    # examples: 1/C of scikit-learn's LogisticRegression.
    l2: float = 0.0
    # "balanced" weights the loss so that all classes count alike, "none" so that all examples do;
    # "auto" is balanced if a class is rare, see rockstar_training.prepared_data.
    class_weights: ClassWeights = "auto"
    # Epochs without a lower validation loss after which training stops and keeps the best epoch's
    # weights; 0 never stops early and keeps the last weights.
    patience: int = 0
    data_dir: str | None = None  # folder with the files of known data sets
    target: str | None = None  # the column of a table to predict
    task: TaskName | None = None  # of a table; None derives it from the target's values
    ignore: tuple[str, ...] = ()  # columns of a table to leave out
    types: Mapping[str, ColumnType] = field(default_factory=dict)  # of columns of a table
    image_size: int | None = None  # side of the input for a folder; None derives it from the images
    quantize: Quantization = "none"  # of both LiteRT files, see rockstar_training.export
    tensorboard: bool = False  # whether to write logs for TensorBoard into the run's folder
    mixed_precision: MixedPrecision = (
        "auto"  # bfloat16 in the layers; "auto" if the GPU supports it
    )
    # Of the splits, the initial weights, the shuffling, augmentation and dropout.
    seed: int = DEFAULT_SEED
    test_fraction: float = DEFAULT_TEST_FRACTION  # share of the data that is held out
    # How a table is split: "random"; "group:COLUMN", all rows of a group on one side; or
    # "time:COLUMN", the latest rows held out.
    split: str = "random"
    validation: str | None = None  # a CSV file or folder for validation, instead of a share
    test: str | None = None  # a CSV file or folder for testing, instead of a share
    folds: int = 0  # of a table's cross-validation before the final training
    # A folder with a subfolder of images for each label, or for some, to learn in addition: what
    # users of the page corrected. Validation and test examples stay those of the data set.
    corrections: str | None = None

    def __post_init__(self) -> None:
        _require(bool(NAME.fullmatch(self.name)), "name", self.name, "letters, digits, _ . -")
        for name in CHOICES:
            value = getattr(self, name, None)
            if isinstance(value, str):
                _require_choice(value, name)
        for kind in self.types.values():
            _require_choice(kind, "types")
        parse_data(self.data)
        self._check_split()
        self._check_model()
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None:
                _require(low <= value <= high, name, value, f"{low} to {high}")
        for size in self.hidden:
            _require(1 <= size <= 65_536, "hidden", size, "sizes of 1 to 65536")
        rate, fraction = self.learning_rate, self.validation_fraction
        if rate is not None:
            _require(0 < rate <= 10, "learning_rate", rate, "more than 0 and at most 10")
        _require(0 <= fraction < 1, "validation_fraction", fraction, "0 to less than 1")
        _require(0 < self.test_fraction < 1, "test_fraction", self.test_fraction, "between 0 and 1")
        _require(self.patience >= 0, "patience", self.patience, "0 or more epochs")

    def _check_split(self) -> None:
        kind, colon, column = self.split.partition(":")
        known = self.split == "random" or (kind in ("group", "time") and bool(colon and column))
        _require(known, "split", self.split, "random, group:COLUMN or time:COLUMN")
        _require(self.folds == 0 or 2 <= self.folds <= 100, "folds", self.folds, "0 or 2 to 100")
        if self.data.startswith("csv:"):
            found = self.corrections
            _require(found is None, "corrections", found, "none; with data of images only")
        else:
            table = "with data csv:FILE only"
            _require(self.split == "random", "split", self.split, f"random; another one {table}")
            _require(self.folds == 0, "folds", self.folds, f"0; others {table}")
        if not self.data.startswith(("csv:", "folder:")):
            hint = "none; with data csv:FILE or folder:DIR only"
            _require(self.validation is None, "validation", self.validation, hint)
            _require(self.test is None, "test", self.test, hint)

    def _check_model(self) -> None:
        """Check settings that only some models have."""
        linear = self.model == "linear"
        _require(linear or self.learning_rate is not None, "learning_rate", None, "a number")
        if self.model == "mlp":
            _require(bool(self.hidden), "hidden", self.hidden, "at least one size, such as 512,256")
        else:
            _require(not self.hidden, "hidden", self.hidden, f"none with model {self.model}")
        if self.model != "cnn":
            _require(self.preset == "default", "preset", self.preset, "default unless model is cnn")
        elif self.api == "core":
            _require(self.preset == "lecture", "preset", self.preset, "lecture with api core")
        if self.pretrained is None:
            _require(not self.fine_tune, "fine_tune", self.fine_tune, "0 without pretrained")
        else:
            _require(self.model == "cnn", "pretrained", self.pretrained, "none unless model is cnn")
            _require(self.api == "keras", "pretrained", self.pretrained, "none with api core")
            _require(self.preset == "default", "preset", self.preset, "default with pretrained")
        if self.api == "core":
            _require(
                self.mixed_precision != "on", "mixed_precision", "on", "auto or off with api core"
            )


def config_for(model: str, **settings: Any) -> TrainConfig:
    """Create the configuration of a model; missing settings and None get its defaults."""
    _require_choice(model, "model")
    given = {field: value for field, value in settings.items() if value is not None}
    data = given.setdefault("data", DEFAULT_DATA)
    if model == "mlp":
        rows = (64, 32) if data.startswith("csv:") else (512, 256)
        given.setdefault("hidden", (256,) if data == "digits" else rows)
    if model == "cnn" and given.get("api") == "core":
        given.setdefault("preset", "lecture")
    pretrained = "pretrained" in given
    defaults = defaults_for(model, data, given.get("preset", "default"), pretrained=pretrained)
    # Patience, and validation data, request early stopping.
    validation, patience = defaults.validation_fraction, defaults.patience
    if given.get("patience") and not validation and model != "linear":
        validation = _VALIDATION
    if given.get("validation") and not patience and model != "linear":
        patience = _PATIENCE
    filled = {"name": model, **dataclasses.asdict(defaults)}
    filled |= {"validation_fraction": validation, "patience": patience}
    return TrainConfig(model=model, **(filled | given))


def _require_choice(value: str, field: str) -> None:
    _require(value in CHOICES[field], field, value, f"one of {', '.join(CHOICES[field])}")


def _require(right: bool, field: str, value: object, expected: str) -> None:
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{field}: expected {expected}, got {value!r}")


def to_json(config: TrainConfig) -> str:
    """Format the configuration as JSON with a line for each field."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def read_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read a settings file: a JSON object with fields of TrainConfig.

    Fields that are missing or null get the default of the model. Overrides replace the values of
    the file, unless they are None. Raises a ConfigError, whose message starts with the path.
    """
    try:
        document = msgspec.json.decode(read_text(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected an object of settings")
    fields = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(document) - set(fields))
    if unknown:
        raise ConfigError(
            f"{path}: unknown setting {unknown[0]!r}; there are: {', '.join(sorted(fields))}"
        )
    settings: dict[str, Any] = {}
    for name, value in document.items():
        try:
            settings[name] = None if value is None else msgspec.convert(value, fields[name])
        except msgspec.ValidationError as error:
            raise ConfigError(f"{path}: {name}: {error}") from error
    model, written = overrides.get("model"), settings.get("model")
    if model and written and model != written:
        raise ConfigError(
            f"{path}: expected settings of model {model}, got those of {written}: leave MODEL out, "
            "or give settings without --config"
        )
    settings |= {field: value for field, value in overrides.items() if value is not None}
    if "model" not in settings:
        raise ConfigError(f"{path}: model is missing: give one there or on the command line")
    try:
        return config_for(**settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
