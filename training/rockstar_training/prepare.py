"""Any data set by its text, ready to train on."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rockstar_contract.contract import TABLE_INPUT, TableInput, Task
from rockstar_training.config import ColumnType, DataSpec, TrainConfig, parse_data
from rockstar_training.csv_tables import Table, TableExamples, fit_columns, read_csv
from rockstar_training.datasets import load
from rockstar_training.datasets import split as split_known
from rockstar_training.image_folders import FolderExamples, ImageFolder, scan_folder
from rockstar_training.image_inputs import (
    folder_input,
    known_input,
    prepare_images,
    pretrained_size,
)
from rockstar_training.prepared import (
    Division,
    Fractions,
    MemoryExamples,
    Prepared,
    Source,
    assemble,
    divide,
)
from rockstar_training.table_splits import folds_of, split_table
from rockstar_training.task import task_of

DEFAULT_VALIDATION_FRACTION = 0.1
# Statistics are of at most this many examples where they are decoded from files.
STATISTICS_SAMPLE = 1000
# Files that cannot be used are named up to this many.
_NAMED = 10


def prepare_for(config: TrainConfig) -> Prepared:
    """Load, divide and describe the data set of a configuration, without TensorFlow.

    Raises:
        ConfigError: the configured model cannot learn from this data.
        DataError: the data is not there or cannot be used; the message says what to do.
    """
    data = prepare(
        config.data,
        seed=config.seed,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        data_dir=Path(config.data_dir) if config.data_dir else None,
        target=config.target,
        # Where the target's values fit both, the model decides: linear learns numbers only.
        task=config.task or ("regression" if config.model == "linear" else None),
        ignore=config.ignore,
        types=dict(config.types),
        image_size=config.image_size or pretrained_size(config.pretrained),
        split=config.split,
        validation=Path(config.validation).expanduser() if config.validation else None,
        test=Path(config.test).expanduser() if config.test else None,
    )
    task_of(config, data)
    return data


def prepare_folds(config: TrainConfig) -> Iterator[Prepared]:
    """The table of a configuration, divided anew for each fold of its cross-validation.

    Raises:
        DataError: the table cannot be used, or has too few rows or groups for the folds.
    """
    spec = parse_data(config.data)
    table = read_csv(
        spec.location,
        config.target,
        config.task or ("regression" if config.model == "linear" else None),
        config.ignore,
        dict(config.types),
        config.split,
        Path(config.validation).expanduser() if config.validation else None,
        Path(config.test).expanduser() if config.test else None,
    )
    for division in folds_of(table, config.folds, config.validation_fraction, config.seed):
        yield _table(spec, table, division)


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
    """Load a data set, divide it and describe it.

    Args:
        data: a name, folder:DIR or csv:FILE.
        seed: of the division.
        test_fraction: share that is held out, where the data set has no test split of its own.
        validation_fraction: share of the rest to validate with; 0 for none.
        data_dir: where files of known data sets may lie; None looks in $ROCKSTAR_DATA_DIR.
        target: the column of a CSV file to predict.
        task: of a CSV file; None lets the target's values decide.
        ignore: columns of a CSV file to leave out.
        types: of columns of a CSV file whose values do not tell.
        image_size: side of a folder's images as the model takes them; None lets the images decide.
        split: of a CSV file: "random", "group:COLUMN" or "time:COLUMN".
        validation: a CSV file or folder to validate with, instead of a share of `data`.
        test: a CSV file or folder to test with, instead of a share of `data`.

    Raises:
        ConfigError: `data` names nothing.
        DataError: the data is not there or cannot be used; the message says what to do.
    """
    spec = parse_data(data) if isinstance(data, str) else data
    fractions = Fractions(test_fraction, validation_fraction, seed)
    if spec.kind == "csv":
        table = read_csv(spec.location, target, task, ignore, types, split, validation, test)
        return _table(spec, table, split_table(table, fractions))
    if spec.kind == "folder":
        return _folder(spec, scan_folder(spec.location, validation, test), fractions, image_size)
    return _known(spec, fractions, data_dir)


def _known(spec: DataSpec, fractions: Fractions, data_dir: Path | None) -> Prepared:
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
    given = split_known(dataset, fractions.test, fractions.seed)
    examples = MemoryExamples(
        prepare_images(dataset.images, wanted),
        raw=lambda place: _png(dataset.images[place]),
        source=lambda place: f"{spec.name} image {place}",
    )
    return assemble(source, divide(source, fractions, given), wanted, examples)


def _folder(
    spec: DataSpec, folder: ImageFolder, fractions: Fractions, image_size: int | None
) -> Prepared:
    source = Source(
        name=spec.name,
        task="classification",
        labels=folder.label_names,
        target=None,
        targets=folder.labels,
        sha256=folder.sha256,
        notes=(*_skipped(folder.skipped), *folder.notes),
    )
    wanted = folder_input(image_size or folder.size, folder.channels)
    examples = FolderExamples(folder, wanted)
    division = divide(source, fractions, folder.split)
    return assemble(source, division, wanted, examples, STATISTICS_SAMPLE)


def _table(spec: DataSpec, table: Table, division: Division) -> Prepared:
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


def _skipped(problems: Sequence[str]) -> tuple[str, ...]:
    if not problems:
        return ()
    notes = [f"skipped {problem}" for problem in problems[:_NAMED]]
    if len(problems) > _NAMED:
        notes.append(f"skipped {len(problems) - _NAMED} more, {len(problems)} in all")
    return tuple(notes)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
