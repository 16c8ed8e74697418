"""A data set prepared for training: its examples and statistics, and the task of a network.

Targets are in memory. Inputs are requested by index, a batch at a time, and come from an array or
from files that are decoded on demand. Imports no TensorFlow.
"""

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract import contract
from rockstar_contract.contract import Encoded, ImageInput, Statistics, TableInput
from rockstar_contract.errors import name_first
from rockstar_contract.images import encode_png
from rockstar_contract.text_files import utf8_name
from rockstar_training.config import CLASSIFIERS, DataSpec, TrainConfig, parse_data
from rockstar_training.csv_tables import Table, TableExamples, fit_columns, read_csv
from rockstar_training.datasets import known_input, load, prepare_images
from rockstar_training.errors import ConfigError
from rockstar_training.image_folders import (
    FolderExamples,
    ImageFolder,
    folder_input,
    scan_corrections,
    scan_folder,
)
from rockstar_training.splits import Fractions, Index, Split, folds_of, split_labeled, split_table

# An example as clients send it: the bytes of a file, or a row.
Raw = bytes | dict[str, Any]

_HISTOGRAM_BINS = 10
# Examples that statistics are computed on if they are decoded from files.
_STATISTICS_SAMPLE = 1000
# Samples that are predicted by all files of an export: the first training examples.
_GOLDEN_SAMPLES = 32
# The image size that most networks of keras.applications were trained with.
_PRETRAINED_SIZE = 224
# A note names classes with fewer training examples than this, and at most so many.
_FEW, _NAMED = 5, 10
# A class is rare if it has less than this share of the examples, and less than half of an equal
# share, so that none of 20 equal classes is.
_RARE = 0.1
_REGRESSION = ("linear", "mlp")
# A table with a column of more different numbers than this has few equal rows, unless by copying.
_VARIED = 20


@dataclass(frozen=True, eq=False)
class MemoryExamples:
    """Examples with all tensors in memory."""

    array: NDArray[np.float32]  # [n, *shape of one example]
    raw: Callable[[int], Raw]  # returns an example as clients send it

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Return rows of the array."""
        return self.array[places]


@dataclass(frozen=True, eq=False)
class CorrectedExamples:
    """The examples of a data set, followed by images that users labeled."""

    known: MemoryExamples | FolderExamples
    count: int  # of the known examples
    corrections: FolderExamples

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Return preprocessed images, float32 [n, h, w, c]."""
        known = places < self.count
        first, later = self.known.tensors(places[known]), places[~known] - self.count
        found = np.empty((len(places), *first.shape[1:]), np.float32)
        found[known], found[~known] = first, self.corrections.tensors(later)
        return found

    def raw(self, place: int) -> Raw:
        """Return an image as clients send it."""
        if place < self.count:
            return self.known.raw(place)
        return self.corrections.raw(place - self.count)


# All examples of a data set, by their index in it: preprocessed, and as clients send them.
Examples = MemoryExamples | FolderExamples | TableExamples | CorrectedExamples


@dataclass(frozen=True, eq=False)
class Part:
    """The examples for training, validation or testing."""

    examples: Examples  # of the whole data set
    places: Index  # [count], of this part's examples, ascending
    targets: NDArray[Any]  # [count], of this part: int64 labels, or float32 values

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(self.places)

    def tensors(self, indices: Index) -> NDArray[np.float32]:
        """Return preprocessed inputs, float32 [n, *shape of one example], in any order."""
        return self.examples.tensors(self.places[indices])

    def raw(self, index: int) -> Raw:
        """Return an example as clients send it."""
        return self.examples.raw(int(self.places[index]))

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
        """Iterate over tensors and targets in order, at most `size` at a time."""
        for start in range(0, self.count, size):
            indices = np.arange(start, min(start + size, self.count))
            yield self.tensors(indices), self.targets[indices]


@dataclass(frozen=True, eq=False)
class GoldenSamples:
    """Samples as clients send them, and preprocessed: float32 [n, *shape of one example]."""

    raw: tuple[Raw, ...]
    tensors: NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedData:
    """A data set, split and described."""

    name: str  # in the contract
    input: Encoded  # of a model
    tensors: Examples
    targets: NDArray[Any]  # of all examples: int64 labels, or float32 values
    split: Split
    labels: tuple[str, ...]  # names of the classes, in order; empty for a regression
    target: str | None = None  # the predicted column; None if it has no name
    sha256: str  # of the data, hexadecimal
    notes: tuple[str, ...]  # sentences for users, about skipped files, for example
    described: int | None = None  # training examples that statistics are computed on; None for all

    @property
    def task(self) -> contract.Task:
        """The task of a model."""
        return "classification" if self.labels else "regression"

    @property
    def examples(self) -> int:
        """The number of examples in all parts."""
        return len(self.targets)

    @cached_property
    def train(self) -> Part:
        """The examples for training."""
        return self._part(self.split.train)

    @cached_property
    def validation(self) -> Part:
        """The examples for decisions during training; may be empty."""
        return self._part(self.split.validation)

    @cached_property
    def test(self) -> Part:
        """The examples for a single evaluation at the end."""
        return self._part(self.split.test)

    def _part(self, places: Index) -> Part:
        return Part(self.tensors, places, self.targets[places])

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the training examples, or of a sample of them."""
        train, places = self.train, np.arange(self.train.count)
        if self.described is not None and self.described < train.count:
            places = np.linspace(0, train.count - 1, self.described).astype(np.int64)
        tensors = train.tensors(places)
        return input_statistics(tensors, train.targets, len(self.labels), self.input)

    @cached_property
    def golden(self) -> GoldenSamples:
        """The first training examples."""
        places = np.arange(min(_GOLDEN_SAMPLES, self.train.count))
        raw = tuple(self.train.raw(int(place)) for place in places)
        return GoldenSamples(raw, self.train.tensors(places))


def prepare_data(config: TrainConfig) -> PreparedData:
    """Load, split and describe the data set of a configuration.

    Raises a ConfigError if the configured model cannot learn from this data, and a DataError if the
    data is missing or cannot be used.
    """
    spec = parse_data(config.data)
    fractions = Fractions(config.test_fraction, config.validation_fraction, config.seed)
    if spec.kind == "csv":
        table = _read_table(spec, config)
        data = _prepare_table(spec, table, split_table(table, fractions))
    else:
        prepare = _prepare_folder if spec.kind == "folder" else _prepare_known
        data = prepare(spec, config, fractions)
        if config.corrections is not None:
            data = _with_corrections(data, Path(config.corrections).expanduser())
    task_of(config, data)
    return data


def prepare_folds(config: TrainConfig) -> Iterator[PreparedData]:
    """Split the table of a configuration for each fold of its cross-validation."""
    spec = parse_data(config.data)
    table = _read_table(spec, config)
    for split in folds_of(table, config.folds, config.validation_fraction, config.seed):
        yield _prepare_table(spec, table, split)


def _read_table(spec: DataSpec, config: TrainConfig) -> Table:
    return read_csv(
        spec.path,
        target=config.target,
        # If the target's values fit both tasks, the model decides: linear learns numbers only.
        task=config.task or ("regression" if config.model == "linear" else None),
        ignore=config.ignore,
        types=config.types,
        split=config.split,
        validation=_path(config.validation),
        test=_path(config.test),
    )


def _prepare_table(spec: DataSpec, table: Table, split: Split) -> PreparedData:
    columns = fit_columns(table, split.train)
    shape = (sum(column.width for column in columns),)
    small = _small_classes(table.label_names, table.targets, split)
    # Rows of a few different values are alike by chance, and so are a few of others.
    varied = any(c.type != "category" and c.different > _VARIED for c in table.columns.values())
    copies = _copies(table.hashes.tolist(), split, "rows", tolerated=0.1 if varied else 1)
    return PreparedData(
        name=spec.name,
        input=TableInput(name=contract.TABLE_INPUT, dtype="float32", shape=shape, columns=columns),
        tensors=TableExamples(table, columns),
        targets=table.targets,
        split=split,
        labels=table.label_names,
        target=table.target,
        sha256=table.sha256,
        notes=(*table.notes, *copies, *small),
    )


def _prepare_folder(spec: DataSpec, config: TrainConfig, fractions: Fractions) -> PreparedData:
    folder = scan_folder(spec.path, _path(config.validation), _path(config.test))
    size = config.image_size or pretrained_size(config.pretrained) or folder.size
    wanted = folder_input(size, folder.channels)
    split = split_labeled(folder.labels, fractions, spec.name, folder.split)
    small = _small_classes(folder.label_names, folder.labels, split)
    return PreparedData(
        name=spec.name,
        input=wanted,
        tensors=FolderExamples(folder.files, wanted),
        targets=folder.labels,
        split=split,
        labels=folder.label_names,
        sha256=folder.sha256,
        notes=(*_skipped(folder.skipped), *folder.notes, *_duplicates(folder, split), *small),
        described=_STATISTICS_SAMPLE,
    )


def _with_corrections(data: PreparedData, folder: Path) -> PreparedData:
    """Add images that users labeled to the training examples; the others stay as they are."""
    added, spec = scan_corrections(folder, data.labels), data.input
    notes = (
        *data.notes,
        *_skipped(added.skipped),
        f"corrections: {len(added.files)} from {folder}",
    )
    if not added.files:
        return replace(data, notes=notes)
    assert isinstance(spec, ImageInput)  # noqa: S101 - TrainConfig requires it
    assert isinstance(data.tensors, (MemoryExamples, FolderExamples))  # noqa: S101
    known = data.examples
    places = np.arange(known, known + len(added.files))
    return replace(
        data,
        tensors=CorrectedExamples(data.tensors, known, FolderExamples(added.files, spec)),
        targets=np.concatenate([data.targets, added.labels]),
        split=replace(data.split, train=np.concatenate([data.split.train, places])),
        sha256=hashlib.sha256(f"{data.sha256} {added.sha256}".encode()).hexdigest(),
        notes=notes,
    )


def _skipped(names: Sequence[str]) -> list[str]:
    """Note the first files and folders that are not used, and count the rest."""
    more = [f"skipped {len(names) - _NAMED} more, {len(names)} in all"]
    return [f"skipped {each}" for each in names[:_NAMED]] + more * (len(names) > _NAMED)


def _prepare_known(spec: DataSpec, config: TrainConfig, fractions: Fractions) -> PreparedData:
    dataset = load(spec.name, _path(config.data_dir))
    wanted, split = known_input(spec.name), dataset.split(fractions)
    tensors = prepare_images(dataset.images, wanted)
    return PreparedData(
        name=spec.name,
        input=wanted,
        tensors=MemoryExamples(tensors, raw=lambda place: encode_png(dataset.images[place])),
        targets=dataset.labels,
        split=split,
        labels=dataset.label_names,
        sha256=dataset.sha256,
        notes=_small_classes(dataset.label_names, dataset.labels, split),
    )


def _copies(
    contents: Sequence[object], split: Split, examples: str, tolerated: float = 0
) -> list[str]:
    """Note examples that are tested but also learned, if their share is not tolerated."""
    learned, count = {contents[place] for place in split.train}, len(split.test)
    both = sum(contents[place] in learned for place in split.test)
    if both <= tolerated * count:
        return []
    return [
        f"{both} of {count} held-out {examples} are copies of training {examples}: on new ones the "
        "model may be less accurate"
    ]


def _duplicates(folder: ImageFolder, split: Split) -> list[str]:
    """Note images that are tested but also learned, and images with several labels."""
    notes = _copies(folder.pixels, split, "images")
    pairs = set(zip(folder.pixels, folder.labels.tolist(), strict=True))
    labels = Counter(pixels for pixels, _ in pairs)
    several = [place for place, pixels in enumerate(folder.pixels) if labels[pixels] > 1]
    if several:
        example = utf8_name(str(folder.files[several[0]]))
        notes.append(f"{len(several)} images are in several classes, such as {example}")
    return notes


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def _small_classes(labels: tuple[str, ...], targets: NDArray[Any], split: Split) -> tuple[str, ...]:
    """Note the labels with too few examples for training or testing."""
    if not labels:
        return ()
    learned, tested = (
        np.bincount(targets[places], minlength=len(labels)) for places in (split.train, split.test)
    )
    few = [place for place in np.argsort(learned, kind="stable") if learned[place] < _FEW]
    notes = []
    if few:
        named = name_first([f"{labels[place]!r} ({learned[place]})" for place in few], _NAMED)
        notes.append(f"labels with fewer than {_FEW} training examples are hardly learned: {named}")
    if not tested.all():
        names = [repr(labels[place]) for place in np.flatnonzero(tested == 0)]
        notes.append(f"labels without held-out examples: {name_first(names, _NAMED)}")
    return tuple(notes)


def input_statistics(
    tensors: NDArray[np.float32], targets: NDArray[Any], classes: int, wanted: contract.Input
) -> Statistics:
    """Compute statistics of the training examples.

    Args:
        tensors: float32 [n, *shape of one example], all or a sample.
        targets: of all training examples: int64 labels, or float32 values of a regression.
        classes: number of labels; 0 for a regression.
        wanted: the model's input; the histogram covers the range of an image.
    """
    ends = float(tensors.min()), float(tensors.max())
    bounds = wanted.range if isinstance(wanted, ImageInput) else ends
    counts, _ = np.histogram(tensors, bins=_HISTOGRAM_BINS, range=bounds)
    shares = np.bincount(targets, minlength=classes) / len(targets) if classes else np.empty(0)
    return Statistics(
        examples=len(tensors),
        **_moments(tensors),
        histogram=tuple((counts / tensors.size).tolist()),
        label_share=tuple(shares.tolist()),
        target=None if classes else contract.TargetStatistics(**_moments(targets)),
    )


def _moments(values: NDArray[Any]) -> dict[str, float]:
    return {
        "mean": float(values.mean(dtype=np.float64)),
        "std": float(values.std(dtype=np.float64)),
        "minimum": float(values.min()),
        "maximum": float(values.max()),
    }


def pretrained_size(pretrained: str | None) -> int | None:
    """Return the image size that suits a .keras file or a network; None without a backbone."""
    if pretrained is None or not pretrained.endswith(".keras"):
        return _PRETRAINED_SIZE if pretrained else None
    path = Path(pretrained).expanduser()
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read("config.json"))
    except FileNotFoundError as error:
        raise ConfigError(f"pretrained: no such file: {path}") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"pretrained: expected a model saved by Keras 3 as .keras, {path} is something else"
        ) from error
    try:
        shape = document["config"]["layers"][0]["config"]["batch_shape"]
        return int(min(shape[1:3]))
    except (KeyError, IndexError, TypeError):  # any size, or another kind of model
        return _PRETRAINED_SIZE


@dataclass(frozen=True)
class Task:
    """What a network learns."""

    shape: tuple[int, ...]  # of one example, [h, w, c] or [width]
    classes: int | None  # probabilities in the output; None for a regression, which has one value
    target_mean: float = 0.0  # of a regression's targets in the training data
    target_std: float = 1.0  # likewise; more than 0
    class_weights: tuple[float, ...] = ()  # factors of the losses by class; empty if all are alike

    @property
    def outputs(self) -> int:
        """Width of the output."""
        return 1 if self.classes is None else self.classes


def task_of(config: TrainConfig, data: PreparedData) -> Task:
    """Return the task of a network on a data set, which the configured model must suit."""
    shape = tuple(data.input.shape)
    target = data.statistics.target
    if target is None:
        weights = class_weights(config, data.statistics.label_share)
        task = Task(shape, len(data.labels), class_weights=weights)
    elif config.model == "linear" and 1e-9 < (target.std or 1.0) < 1e9:
        # The linear model learns raw values, so that its weights are readable, unless their squares
        # would overflow or underflow in float32.
        task = Task(shape, None)
    else:
        mean = 0.0 if config.model == "linear" else target.mean
        task = Task(shape, None, mean, target.std or 1.0)
    require_suitable(config, task)
    return task


def require_suitable(config: TrainConfig, task: Task) -> None:
    """Reject a model that cannot learn the task by a ConfigError that says which models can."""
    kind, able = ("labels are", CLASSIFIERS) if task.classes else ("a number is", _REGRESSION)
    if config.model not in able:
        rows = "; linear takes --data csv:FILE --target COLUMN, a column of numbers"
        raise ConfigError(
            f"model: expected {' or '.join(able)} where {kind} to be predicted, "
            f"got {config.model!r}{rows if config.model == 'linear' else ''}"
        )
    if len(task.shape) != 3 and (config.model == "cnn" or config.augmentation):
        field = "model" if config.model == "cnn" else "augmentation"
        raise ConfigError(f"{field}: cnn and augmentation are for images, the data are rows")


def class_weights(config: TrainConfig, shares: Sequence[float]) -> tuple[float, ...]:
    """Compute factors of the losses that make all classes count alike; empty if not needed.

    Shares are those of each class in the training examples.
    """
    wanted = config.class_weights == "balanced"
    if not wanted and (config.class_weights == "none" or not _rare_classes(shares)):
        return ()
    # The weight of a class without examples is never used.
    return tuple(1 / (len(shares) * share) if share else 1.0 for share in shares)


def weights_note(config: TrainConfig, data: PreparedData) -> tuple[str, ...]:
    """Note that class weights are used although they were not requested."""
    shares = data.statistics.label_share
    if config.class_weights != "auto" or not class_weights(config, shares):
        return ()
    rare = [f"{data.labels[i]!r} ({100 * shares[i]:.2g} %)" for i in _rare_classes(shares)]
    return (
        f"Few training examples have the label {name_first(rare, 5)}, so the loss is weighted: all "
        "classes count alike. --class-weights none counts all examples alike.",
    )


def _rare_classes(shares: Sequence[float]) -> list[int]:
    """List the classes with few examples, rarest first."""
    # Half of an equal share is more than 10 % with up to four classes.
    limit = min(_RARE, 0.5 / max(1, len(shares)))
    return sorted((i for i, share in enumerate(shares) if share < limit), key=lambda i: shares[i])
