"""Settings of a training run: data sets, defaults by model, checks, and settings files.

Imports nothing heavy, so that wrong settings are reported before TensorFlow loads.
"""

import dataclasses
import gzip
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from rockstar_contract.text_files import EncodingError, read_text
from rockstar_training.errors import ConfigError

IMAGE_SETS = ("digits", "mnist", "fashion_mnist")
SYNTAX = f"{', '.join(IMAGE_SETS)}, folder:DIR or csv:FILE"


@dataclass(frozen=True)
class DataSpec:
    """A data set.

    Attributes:
        kind: a known set of images, a folder of class folders, or a table.
        name: in contracts and reports, without the parent folders.
        path: of the folder or file; None for a known set.
    """

    kind: Literal["images", "folder", "csv"]
    name: str
    path: Path | None = None

    @property
    def location(self) -> Path:
        """The path of a folder or file."""
        if self.path is None:
            raise ValueError(f"{self.name} has no path")
        return self.path


def parse_data(text: str) -> DataSpec:
    """Parse the name of a data set, without accessing files.

    Raises:
        ConfigError: it does not match SYNTAX.
    """
    if text in IMAGE_SETS:
        return DataSpec("images", text)
    kind, colon, place = text.partition(":")
    if not colon or kind not in ("folder", "csv") or not place.strip():
        raise ConfigError(f"data: expected {SYNTAX}, got {text!r}")
    path = Path(place).expanduser()
    name = f"{kind}:{path.resolve().name}"
    return DataSpec("folder" if kind == "folder" else "csv", name, path)


DEFAULT_DATA = "digits"
DEFAULT_SEED = 1
DEFAULT_TEST_FRACTION = 0.2
ACTIVATIONS = ("relu", "sigmoid", "tanh", "gelu", "softsign", "prelu", "arctan")
PRESETS = ("default", "lecture")
APIS = ("keras", "core")
MIXED_PRECISION = ("auto", "on", "off")
CLASS_WEIGHTS = ("auto", "balanced", "none")
# Ranges of pixel values: 0…1, 0…255, or a mode of keras.applications.
Pixels = Literal["0-1", "0-255", "tf", "torch", "caffe"]
PIXELS: tuple[Pixels, ...] = ("0-1", "0-255", "tf", "torch", "caffe")
PRETRAINED_INPUTS = ("auto", *PIXELS)
# Inputs of imported models.
Kind = Literal["image", "table", "tensor"]
KINDS: tuple[Kind, ...] = ("image", "table", "tensor")
QUANTIZATIONS = ("none", "dynamic", "float16", "int8")
TASKS = ("classification", "regression")
ColumnType = Literal["number", "category", "date"]
COLUMN_TYPES = ("number", "category", "date")
# Early stopping that is requested for a model without it in its defaults.
_VALIDATION, _PATIENCE = 0.1, 20
# The contract's rule for names of models, which are also names of folders.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


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
# A folder may have only a few hundred images: small batches, many epochs, and early stopping.
_FOLDERS = {
    "linear": _LINEAR,
    "logistic": Defaults(60, 32, 0.003, patience=12),
    "mlp": Defaults(60, 32, 0.001, patience=12),
    "cnn": Defaults(60, 32, 0.003, augmentation=0.5, patience=15),
}
# Only the last layer is trained, on good features.
_PRETRAINED = Defaults(60, 32, 0.1, augmentation=0.5, patience=15)
# The lecture's network is expensive and has no normalization: fewer, smaller steps.
_LECTURE = Defaults(4, 128, 0.0015, augmentation=0.5, validation_fraction=0.02)
_TABLES = {
    "linear": _LINEAR,
    "logistic": Defaults(100, 64, 0.01, patience=20, l2=1.0),
    "mlp": Defaults(100, 64, 0.001, patience=20, l2=4.0),
    "cnn": Defaults(20, 64, 0.001),
}
# Small tables cannot spare rows for early stopping. A penalty on large weights replaces it, strong
# enough to train until convergence, as scikit-learn does.
_SMALL_TABLE = 2000
_SMALL_TABLES = _TABLES | {
    "logistic": Defaults(300, _SMALL_TABLE, 0.1, validation_fraction=0.0, l2=1.0),
    "mlp": Defaults(30, 32, 0.003, validation_fraction=0.0, l2=4.0),
}
# Minimum number of steps of an mlp on a small table.
_MLP_STEPS = 800
MODELS = tuple(_DIGITS)
# The models that predict a probability for each label.
CLASSIFIERS = ("logistic", "mlp", "cnn")


def defaults_for(
    model: str, data: str, preset: str = "default", *, pretrained: bool = False
) -> Defaults:
    """Return the default settings of a model on a data set."""
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
    path = Path(data.removeprefix("csv:")).expanduser()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # Lines below the header, counted no further than matters here.
            rows = max(0, sum(1 for _ in islice(file, _SMALL_TABLE + 2)) - 1)
    except (OSError, EOFError):  # reported when the table is read
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

    Attributes:
        name: of the published model; a letter or digit, then also "_", "." and "-".
        model: type of the network, one of MODELS.
        data: the data set, such as "digits", "mnist", "folder:photos" or "csv:houses.csv".
        epochs: maximum number of passes over the training data.
        batch_size: examples per step, over all devices and workers together.
        learning_rate: the peak; None, for the linear model only, computes a rate with which
            gradient descent converges.
        augmentation: strength of random changes to training images: 0 for none, 1 for what suits
            the data, see rockstar_training.augmentation.
        activation: of an mlp's hidden layers, one of ACTIVATIONS.
        hidden: sizes of an mlp's hidden layers.
        preset: of the cnn: "default", or "lecture" for 5x5x32, pool, 5x5x64, pool, 1024.
        pretrained: of the cnn: a backbone that gets a new last layer, a .keras file or a network
            of keras.applications such as "MobileNetV2"; None for none.
        pretrained_input: the backbone's pixel range, one of PRETRAINED_INPUTS; "auto" detects it.
        fine_tune: additional epochs in which the backbone is trained, too, at a thousandth of the
            learning rate; 0 keeps it frozen.
        api: "keras", or "core" for the networks in plain TensorFlow.
        validation_fraction: share of the training data used for validation; 0 for none, and then
            no early stopping.
        l2: strength of the penalty on large weights, relative to the loss summed over the training
            examples: 1/C of scikit-learn's LogisticRegression; 0 for none.
        class_weights: "balanced" weights the loss so that all classes count alike, "none" so that
            all examples do; "auto" is balanced if a class is rare, see rockstar_training.task.
        patience: epochs without a lower validation loss after which training stops and keeps the
            best epoch's weights; 0 never stops early and keeps the last weights.
        data_dir: folder with the files of known data sets.
        target: the column of a table to predict.
        task: of a table, one of TASKS; None derives it from the target's values.
        ignore: columns of a table to leave out.
        types: of columns of a table with ambiguous values, by name: one of COLUMN_TYPES.
        image_size: side of the model's input for a folder of images; None derives it from them.
        quantize: quantization of both LiteRT files, one of QUANTIZATIONS; see
            rockstar_training.export.
        tensorboard: whether to write logs for TensorBoard into the run's folder.
        mixed_precision: bfloat16 in the layers; "auto" if the GPU supports it.
        seed: of the splits, the initial weights, the shuffling, augmentation and dropout.
        test_fraction: share of the data that is held out.
        split: how a table is divided: "random"; "group:COLUMN", all rows of a group on one side;
            or "time:COLUMN", the latest rows held out.
        validation: a CSV file or folder for validation, instead of a share of the data.
        test: a CSV file or folder for testing, instead of a share of the data.
        folds: of a table's cross-validation before the final training; 0 for none.

    Raises:
        ConfigError: an invalid value; the message starts with the field.
    """

    name: str
    model: str
    data: str
    epochs: int
    batch_size: int
    learning_rate: float | None
    augmentation: float = 0.0
    activation: str = "relu"
    hidden: tuple[int, ...] = ()
    preset: str = "default"
    pretrained: str | None = None
    pretrained_input: Literal["auto", "0-1", "tf", "0-255", "caffe", "torch"] = "auto"
    fine_tune: int = 0
    api: Literal["keras", "core"] = "keras"
    validation_fraction: float = 0.0
    l2: float = 0.0
    class_weights: Literal["auto", "balanced", "none"] = "auto"
    patience: int = 0
    data_dir: str | None = None
    target: str | None = None
    task: Literal["classification", "regression"] | None = None
    ignore: tuple[str, ...] = ()
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    image_size: int | None = None
    quantize: Literal["none", "dynamic", "float16", "int8"] = "none"
    tensorboard: bool = False
    mixed_precision: Literal["auto", "on", "off"] = "auto"
    seed: int = DEFAULT_SEED
    test_fraction: float = DEFAULT_TEST_FRACTION
    split: str = "random"
    validation: str | None = None
    test: str | None = None
    folds: int = 0

    def __post_init__(self) -> None:
        _require(bool(_NAME.fullmatch(self.name)), "name", self.name, "letters, digits, _ . -")
        _require_one_of(self.model, "model", MODELS)
        parse_data(self.data)
        _require_one_of(self.activation, "activation", ACTIVATIONS)
        _require_one_of(self.preset, "preset", PRESETS)
        _require_one_of(self.api, "api", APIS)
        _require_one_of(self.pretrained_input, "pretrained_input", PRETRAINED_INPUTS)
        _require_one_of(self.mixed_precision, "mixed_precision", MIXED_PRECISION)
        _require_one_of(self.class_weights, "class_weights", CLASS_WEIGHTS)
        _require_one_of(self.quantize, "quantize", QUANTIZATIONS)
        if self.task is not None:
            _require_one_of(self.task, "task", TASKS)
        for kind in self.types.values():
            _require_one_of(kind, "types", COLUMN_TYPES)
        self._check_division()
        self._check_model()
        _require(1 <= self.epochs <= 100_000, "epochs", self.epochs, "1 to 100000")
        _require(0 <= self.fine_tune <= 100_000, "fine_tune", self.fine_tune, "0 to 100000")
        _require(1 <= self.batch_size <= 65_536, "batch_size", self.batch_size, "1 to 65536")
        rate = self.learning_rate
        if rate is not None:
            _require(0 < rate <= 10, "learning_rate", rate, "more than 0 and at most 10")
        _require(0 <= self.augmentation <= 3, "augmentation", self.augmentation, "0 to 3")
        for size in self.hidden:
            _require(1 <= size <= 65_536, "hidden", size, "sizes of 1 to 65536")
        if self.image_size is not None:
            _require(4 <= self.image_size <= 1024, "image_size", self.image_size, "4 to 1024")
        fraction = self.validation_fraction
        _require(0 <= fraction < 1, "validation_fraction", fraction, "0 to less than 1")
        _require(0 <= self.l2 <= 1e6, "l2", self.l2, "0 to 1000000")
        _require(self.patience >= 0, "patience", self.patience, "0 or more epochs")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        _require(0 < self.test_fraction < 1, "test_fraction", self.test_fraction, "between 0 and 1")

    def _check_division(self) -> None:
        kind, colon, column = self.split.partition(":")
        known = self.split == "random" or (kind in ("group", "time") and bool(colon and column))
        _require(known, "split", self.split, "random, group:COLUMN or time:COLUMN")
        _require(self.folds == 0 or 2 <= self.folds <= 100, "folds", self.folds, "0 or 2 to 100")
        if not self.data.startswith("csv:"):
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
    """Create the configuration of a model; missing settings and None get its defaults.

    Args:
        model: one of MODELS.
        settings: any other field of TrainConfig.

    Raises:
        ConfigError: an invalid value; the message starts with the field.
        TypeError: an unknown field.
    """
    _require_one_of(model, "model", MODELS)
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
    filled: dict[str, Any] = {
        "name": model,
        "epochs": defaults.epochs,
        "batch_size": defaults.batch_size,
        "learning_rate": defaults.learning_rate,
        "augmentation": defaults.augmentation,
        "validation_fraction": validation,
        "l2": defaults.l2,
        "patience": patience,
    }
    return TrainConfig(model=model, **(filled | given))


def _require_one_of(value: str, field: str, known: tuple[str, ...]) -> None:
    _require(value in known, field, value, f"one of {', '.join(known)}")


def _require(right: bool, field: str, value: object, expected: str) -> None:
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{field}: expected {expected}, got {value!r}")


def to_json(config: TrainConfig) -> str:
    """Format the configuration as JSON with a line for each field."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def read_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read a settings file; missing fields get the defaults of the model.

    Args:
        path: a JSON object with fields of TrainConfig; only `model` is required. Null means the
            model's default.
        overrides: values that replace the file's, unless None.

    Raises:
        ConfigError: no such file, not JSON, an unknown field, or a value of the wrong type or
            range; the message starts with the path.
    """
    try:
        document = msgspec.json.decode(read_text(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except EncodingError as error:
        raise ConfigError(f"{path}: {error}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected an object of settings")
    if isinstance(document.get("quantize"), bool):  # files of older versions, which had one mode
        document["quantize"] = "dynamic" if document["quantize"] else "none"
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
    asked, written = overrides.get("model"), settings.get("model")
    if asked and written and asked != written:
        raise ConfigError(
            f"{path}: these are settings of a {written}, and {asked} was asked for: leave MODEL "
            "out, or give settings without --config"
        )
    settings |= {field: value for field, value in overrides.items() if value is not None}
    if "model" not in settings:
        raise ConfigError(f"{path}: model is missing: give one there or on the command line")
    try:
        return config_for(**settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
