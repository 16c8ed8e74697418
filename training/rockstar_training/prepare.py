"""Loading any data set by its name, dividing it, and describing it, ready to train on."""

import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rockstar_contract.contract import TABLE_INPUT, TableInput, Task
from rockstar_training.config import ColumnType, DataSpec, TrainConfig, parse_data
from rockstar_training.csv_tables import (
    TEST,
    TRAIN,
    VALIDATION,
    Table,
    TableExamples,
    fit_columns,
    read_csv,
)
from rockstar_training.datasets import hold_out, known_input, load, prepare_images
from rockstar_training.datasets import split as split_known
from rockstar_training.errors import ConfigError, DataError
from rockstar_training.image_folders import FolderExamples, folder_input, scan_folder
from rockstar_training.prepared import (
    Division,
    Fractions,
    Index,
    MemoryExamples,
    Prepared,
    Source,
    assemble,
    divide,
)
from rockstar_training.task import task_of

DEFAULT_VALIDATION_FRACTION = 0.1
# Examples that statistics are computed on if they are decoded from files.
_STATISTICS_SAMPLE = 1000
# Unusable files that are named.
_NAMED = 10
# The image size that most networks of keras.applications were trained with.
_PRETRAINED_SIZE = 224


def prepare_for(config: TrainConfig) -> Prepared:
    """Load, divide and describe the data set of a configuration, without TensorFlow.

    Raises:
        ConfigError: the configured model cannot learn from this data.
        DataError: the data is missing or cannot be used; the message says what to do.
    """
    data = prepare(
        config.data,
        seed=config.seed,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        data_dir=Path(config.data_dir) if config.data_dir else None,
        image_size=config.image_size or pretrained_size(config.pretrained),
        **_table_options(config),
    )
    task_of(config, data)
    return data


def prepare_folds(config: TrainConfig) -> Iterator[Prepared]:
    """Divide the table of a configuration for each fold of its cross-validation.

    Raises:
        DataError: the table cannot be used, or has too few rows or groups for the folds.
    """
    spec = parse_data(config.data)
    table = read_csv(spec.location, **_table_options(config))
    for division in folds_of(table, config.folds, config.validation_fraction, config.seed):
        yield _prepare_table(spec, table, division)


def _table_options(config: TrainConfig) -> dict[str, Any]:
    return {
        "target": config.target,
        # If the target's values fit both tasks, the model decides: linear learns numbers only.
        "task": config.task or ("regression" if config.model == "linear" else None),
        "ignore": config.ignore,
        "types": dict(config.types),
        "split": config.split,
        "validation": Path(config.validation).expanduser() if config.validation else None,
        "test": Path(config.test).expanduser() if config.test else None,
    }


def prepare(
    data: DataSpec | str,
    *,
    seed: int,
    test_fraction: float,
    validation_fraction: float = DEFAULT_VALIDATION_FRACTION,
    data_dir: Path | None = None,
    target: str | None = None,
    task: Task | None = None,
    ignore: Sequence[str] = (),
    types: Mapping[str, ColumnType] | None = None,
    image_size: int | None = None,
    split: str = "random",
    validation: Path | None = None,
    test: Path | None = None,
) -> Prepared:
    """Load, divide and describe a data set.

    Args:
        data: a name, folder:DIR or csv:FILE.
        seed: of the division.
        test_fraction: share to hold out, unless the data set has its own test split.
        validation_fraction: share of the rest for validation; 0 for none.
        data_dir: folder that may have the files of known sets; None for $ROCKSTAR_DATA_DIR.
        target: the column of a CSV file to predict.
        task: of a CSV file; None derives it from the target's values.
        ignore: columns of a CSV file to leave out.
        types: of columns of a CSV file with ambiguous values.
        image_size: side of the model's input for a folder; None derives it from the images.
        split: of a CSV file: "random", "group:COLUMN" or "time:COLUMN".
        validation: a CSV file or folder for validation, instead of a share of `data`.
        test: a CSV file or folder for testing, instead of a share of `data`.

    Raises:
        ConfigError: `data` is not a valid name.
        DataError: the data is missing or cannot be used; the message says what to do.
    """
    spec = parse_data(data) if isinstance(data, str) else data
    fractions = Fractions(test_fraction, validation_fraction, seed)
    if spec.kind == "csv":
        table = read_csv(spec.location, target, task, ignore, types, split, validation, test)
        return _prepare_table(spec, table, split_table(table, fractions))
    if spec.kind == "folder":
        folder = scan_folder(spec.location, validation, test)
        notes = [f"skipped {problem}" for problem in folder.skipped[:_NAMED]]
        if len(folder.skipped) > _NAMED:
            count = len(folder.skipped)
            notes.append(f"skipped {count - _NAMED} more, {count} in all")
        source = Source(
            name=spec.name,
            task="classification",
            labels=folder.label_names,
            target=None,
            targets=folder.labels,
            sha256=folder.sha256,
            notes=(*notes, *folder.notes),
        )
        wanted = folder_input(image_size or folder.size, folder.channels)
        division = divide(source, fractions, folder.split)
        return assemble(
            source, division, wanted, FolderExamples(folder, wanted), _STATISTICS_SAMPLE
        )
    dataset = load(spec.name, data_dir)
    wanted = known_input(spec.name)
    source = Source(
        name=spec.name,
        task="classification",
        labels=dataset.label_names,
        target=None,
        targets=dataset.labels,
        sha256=dataset.sha256,
    )

    def encode(place: int) -> bytes:
        pixels, file = dataset.images[place], io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
        return file.getvalue()

    examples = MemoryExamples(
        prepare_images(dataset.images, wanted),
        raw=encode,
        source=lambda place: f"{spec.name} image {place}",
    )
    given = split_known(dataset, fractions.test, fractions.seed)
    return assemble(source, divide(source, fractions, given), wanted, examples)


def _prepare_table(spec: DataSpec, table: Table, division: Division) -> Prepared:
    source = Source(
        name=spec.name,
        task=table.task,
        labels=table.label_names,
        target=table.target,
        targets=table.targets,
        sha256=table.sha256,
        notes=table.notes,
    )
    columns = fit_columns(table, division.train)
    width = sum(column.width for column in columns)
    wanted = TableInput(name=TABLE_INPUT, dtype="float32", shape=(width,), columns=columns)
    return assemble(source, division, wanted, TableExamples(table, columns))


def pretrained_size(pretrained: str | None) -> int | None:
    """Return the image size that suits a pretrained backbone, without importing TensorFlow.

    Args:
        pretrained: a .keras file or the name of a network; None is no backbone and has no size.

    Raises:
        ConfigError: no such file, or not a .keras file.
    """
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


def split_table(table: Table, fractions: Fractions) -> Division:
    """Divide a table by its files, by groups, by time, or at random.

    Args:
        table: the rows.
        fractions: sizes of the parts without a file of their own.

    Raises:
        DataError: a part would be empty.
    """
    test_fraction, validation_fraction, seed = fractions.test, fractions.validation, fractions.seed
    rows, test = _rows(table, TRAIN), _rows(table, TEST)
    if not len(test):
        rows, test = _part(table, rows, test_fraction, seed)
    validation = _rows(table, VALIDATION)
    if not len(validation) and validation_fraction:
        rows, validation = _part(table, rows, validation_fraction, seed)
    return Division(rows, validation, test)


def folds_of(table: Table, folds: int, validation_fraction: float, seed: int) -> Iterator[Division]:
    """Divide the training rows for each fold, so that every row is tested with once.

    With a time column, each fold trains on all rows before those it tests with. Rows from files of
    their own are not used, except for validation.

    Raises:
        DataError: fewer rows, or groups, than folds.
    """
    from sklearn.model_selection import TimeSeriesSplit

    rows, validation = _rows(table, TRAIN), _rows(table, VALIDATION)
    by_time, by_group = table.split_by == "time", table.split_by == "group"
    pieces = len(np.unique(table.split_values[rows])) if by_group else len(rows)
    if pieces < folds + by_time:
        what = "groups" if by_group else "rows"
        raise DataError(f"{table.path}: {pieces} {what} are too few for {folds} folds")
    if by_time:
        ordered = rows[np.argsort(table.split_values[rows], kind="stable")]
        found = [
            (np.sort(ordered[early]), np.sort(ordered[late]))
            for early, late in TimeSeriesSplit(folds).split(ordered)
        ]
    else:
        found = _random_folds(table, rows, folds, seed)
    for kept, held_out in found:
        own = validation
        if not len(own) and validation_fraction:
            kept, own = _part(table, kept, validation_fraction, seed)
        yield Division(kept, own, held_out)


def _rows(table: Table, part: int) -> Index:
    return np.flatnonzero(table.parts == part).astype(np.int64)


def _part(table: Table, rows: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    """Divide rows in two, both ascending; the second side gets this share of them."""
    if table.split_by == "group":
        count = len(np.unique(table.split_values[rows]))
        if count < 2:
            raise DataError(f"{table.path}: a split needs two or more groups, there is {count}")
        # One of this many folds has about the wanted share.
        folds = min(count, max(2, round(1 / fraction)))
        # If one group has most of the rows, folds may be empty.
        found = [sides for sides in _random_folds(table, rows, folds, seed) if all(map(len, sides))]
        if not found:
            raise DataError(f"{table.path}: its {count} groups cannot be divided in two")
        return found[0]
    if table.split_by == "time":
        times = table.split_values[rows]
        # Rows of the same time stay together.
        border = np.sort(times)[min(len(rows) - 1, round(len(rows) * (1 - fraction)))]
        late = times >= border
        if late.all():
            late = times > border
        if not late.any():
            raise DataError(f"{table.path}: a split by time needs rows of different times")
        return rows[~late], rows[late]
    labels = table.targets[rows] if table.label_names else None
    return hold_out(rows, labels, fraction, seed, table.path.name)


def _random_folds(table: Table, rows: Index, folds: int, seed: int) -> list[tuple[Index, Index]]:
    """Divide rows at random, with the same share of every label and with whole groups."""
    from sklearn.model_selection import (
        GroupKFold,
        KFold,
        StratifiedGroupKFold,
        StratifiedKFold,
    )

    labels, grouped = table.targets[rows], table.split_by == "group"
    splitter: Any
    if table.label_names:
        kind = StratifiedGroupKFold if grouped else StratifiedKFold
        splitter = kind(folds, shuffle=True, random_state=seed)
    else:
        splitter = GroupKFold(folds) if grouped else KFold(folds, shuffle=True, random_state=seed)
    groups = table.split_values[rows] if grouped else None
    try:
        with warnings.catch_warnings():
            # About labels with fewer examples than folds, which have a note of their own.
            warnings.simplefilter("ignore")
            found = list(splitter.split(rows, labels, groups))
    except ValueError as error:
        raise DataError(f"{table.path} cannot be divided into {folds} folds: {error}") from error
    return [(np.sort(rows[kept]), np.sort(rows[held_out])) for kept, held_out in found]
