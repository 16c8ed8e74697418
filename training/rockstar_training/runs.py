"""The folders in runs/: writing the record of a training run, and reading them to compare runs.

Imports no TensorFlow. Folders that cannot be read as a finished run are skipped with a reason.
"""

import csv
import fcntl
import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import msgspec

from rockstar_contract.errors import name_first
from rockstar_contract.text_files import utf8_name
from rockstar_training.config import TrainConfig, to_json
from rockstar_training.errors import TrainingError

if TYPE_CHECKING:
    from rockstar_contract.contract import Contract
    from rockstar_training.evaluation import TestPredictions
    from rockstar_training.progress import Epoch

CONFIG_FILE = "config.json"
CONTRACT_FILE = "contract.json"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.json"
REPORT_FILE = "report.html"
LOGS_FOLDER = "tensorboard"
UNFINISHED_FOLDER = ".unfinished"
# Of a training that can be watched: what happened, and what pages request, as JSON lines.
EVENTS_FILE = "events.jsonl"
REQUESTS_FILE = "requests.jsonl"
PREDICTIONS_FILE = "test_predictions.csv"

# The metric that a run is compared by (the first one present) and its display name.
SCORES = {"test_accuracy": "accuracy", "test_r2": "R²"}

# Columns that runs can be sorted by, and those whose largest value comes first.
SORTABLE = ("created", "id", "model", "data", "score", "loss", "epochs", "seconds")
_LARGEST_FIRST = ("created", "score")


@dataclass(frozen=True)
class Run:
    """A finished run; None for a score or loss that is undefined."""

    id: str  # name of its folder
    model: str  # type of the network
    data: str  # name of the data set
    metric: str | None  # of the score: "accuracy" or "R²"
    score: float | None  # on the held-out examples
    loss: float | None  # on the held-out examples
    epochs: int  # number of epochs trained
    seconds: float  # duration of all epochs
    created: datetime  # UTC
    best: bool = False  # whether no run on the same data has a better score


@dataclass(frozen=True)
class Skipped:
    """A folder that is not read as a run, and why."""

    id: str
    why: str


def require_writable(workdir: Path) -> None:
    """Check before training that models/ and runs/ can be written, else raise a TrainingError."""
    if utf8_name(str(workdir)) != str(workdir):
        raise TrainingError(
            f"cannot write to {utf8_name(str(workdir))}: TensorFlow takes only folders whose names "
            "are UTF-8"
        )
    try:
        for folder in (workdir / "models", workdir / "runs"):
            # A command that fails leaves no folders behind.
            while not folder.exists():
                folder = folder.parent
            with TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise TrainingError(f"cannot write to {workdir}: {error.strerror}") from error


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Create the folder of an unfinished run, and lock it against other processes.

    Raises a TrainingError if it cannot be written, or the same run is going on in another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise TrainingError(f"cannot write to {folder}: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                f"the same {what} is already running in {folder.parents[2]}: wait for it, or give "
                "another --seed or --name"
            ) from error
        yield


def write_record(
    runs: Path,
    config: TrainConfig,
    contract: "Contract",
    test: "TestPredictions",
    history: Sequence["Epoch"],
    unfinished: Path,
) -> Path:
    """Write runs/<name>-<version>/, replacing the record of a deleted model of the same version.

    Its history.json is a list of epochs. Its test_predictions.csv has a row for each held-out
    example: its index in the data set, its label, the predicted label and its probability; or for a
    regression its true and its predicted value. TensorBoard's logs and the events are moved into it
    from the folder of the unfinished run, if they exist. Raises a TrainingError if it cannot be
    written; the model is published nevertheless.
    """
    folder = runs / f"{contract.model}-{contract.version}"
    documents = {METRICS_FILE: contract.metrics, HISTORY_FILE: [asdict(each) for each in history]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(to_json(config), encoding="utf-8")
        (folder / CONTRACT_FILE).write_text(contract.to_json() + "\n", encoding="utf-8")
        for name, document in documents.items():
            (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        _write_predictions(folder / PREDICTIONS_FILE, contract, test)
        shutil.rmtree(folder / LOGS_FOLDER, ignore_errors=True)
        (folder / EVENTS_FILE).unlink(missing_ok=True)
        for name in (LOGS_FOLDER, EVENTS_FILE):
            if (unfinished / name).exists():
                shutil.move(unfinished / name, folder / name)
    except OSError as error:
        raise TrainingError(
            f"{contract.model} version {contract.version} is published, but the record of its run "
            f"cannot be written to {folder}: {error}"
        ) from error
    return folder


def _write_predictions(path: Path, contract: "Contract", test: "TestPredictions") -> None:
    rows = zip(test.indices, test.truth, test.outputs, strict=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        # Nine digits represent a float32 exactly.
        if contract.task == "regression":
            writer.writerow(["index", "value", "predicted"])
            writer.writerows([i, f"{true:.9g}", f"{row[0]:.9g}"] for i, true, row in rows)
            return
        writer.writerow(["index", "label", "predicted", "score"])
        names = contract.labels
        for i, true, row in rows:
            writer.writerow([i, names[true], names[row.argmax()], f"{row.max():.9g}"])


def read_runs(folder: Path) -> tuple[list[Run], list[Skipped]]:
    """Read all runs in a folder, sorted by id, and list the folders that are not runs.

    Raises an OSError if the folder cannot be listed.
    """
    found: list[Run] = []
    skipped: list[Skipped] = []
    entries = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    for path in sorted(entries, key=lambda path: _natural(path.name)):
        try:
            found.append(_read(path))
        except (ValueError, OSError) as error:
            skipped.append(Skipped(path.name, str(error)))
    best: dict[tuple[str, str | None], tuple[float, float]] = {}
    for run in found:
        kind, rank = (run.data, run.metric), _rank(run)
        if rank is not None and rank > best.get(kind, (-math.inf, -math.inf)):
            best[kind] = rank
    return [
        replace(run, best=True) if _rank(run) == best.get((run.data, run.metric), ()) else run
        for run in found
    ], skipped


def run_folders(runs: Path) -> list[Path]:
    """List the folders of runs that can be watched: unfinished ones first, then the newest."""
    found = [
        (path.parent.name != UNFINISHED_FOLDER, -path.stat().st_mtime, path)
        for folder in (runs / UNFINISHED_FOLDER, runs)
        if folder.is_dir()
        for path in folder.iterdir()
        if (path / EVENTS_FILE).is_file()
    ]
    return [path for *_, path in sorted(found)]


def find_run(runs: Path, name: str) -> Path:
    """Find a run by its folder, its name, or the name of its model, then the newest.

    Raises a TrainingError if there is none.
    """
    if (Path(name) / EVENTS_FILE).is_file():
        return Path(name)
    known = run_folders(runs)
    for path in known:
        if name in (path.name, path.name.rpartition("-")[0]):
            return path
    there = name_first([path.name for path in known]) if known else "none"
    raise TrainingError(
        f"expected a run in {runs} or the folder of one, got {name!r}; there: {there}"
    )


def comparable_runs(folder: Path, config: TrainConfig, exclude: str, most: int = 10) -> list[Run]:
    """Read the newest finished runs on the data set of a configuration, except one."""
    found: list[Run] = []
    for path in run_folders(folder):
        if len(found) == most:
            break
        with suppress(ValueError, OSError):
            run = _read(path)
            if run.data == utf8_name(config.data) and path.name != exclude:
                found.append(run)
    return found


def write_runs_page(folder: Path, runs: Sequence[Run], skipped: Sequence[Skipped]) -> Path:
    """Write index.html into a folder of runs: a table for each data set, with links to reports."""
    from rockstar_training.report.theme import render  # loads matplotlib

    groups: dict[tuple[str, str | None], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.data, run.metric), []).append(run)
    text = render(
        "runs.html.j2",
        {},
        groups=groups,
        reports={run.id for run in runs if (folder / run.id / REPORT_FILE).exists()},
        skipped=skipped,
    )
    path = folder / "index.html"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def sort_runs(runs: Sequence[Run], column: str) -> list[Run]:
    """Sort runs by a column of SORTABLE; runs without a value there come last."""

    def key(run: Run) -> Any:
        return _natural(run.id) if column == "id" else getattr(run, column)

    known = [run for run in runs if key(run) is not None]
    unknown = [run for run in runs if key(run) is None]
    return [*sorted(known, key=key, reverse=column in _LARGEST_FIRST), *unknown]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key that puts cnn-9 before cnn-10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _rank(run: Run) -> tuple[float, float] | None:
    """Rank by score, then by lower loss."""
    if run.score is None:
        return None
    return run.score, -math.inf if run.loss is None else -run.loss


class _Config(msgspec.Struct):
    model: str
    data: str


class _Metrics(msgspec.Struct):
    test_accuracy: float | None = None
    test_r2: float | None = None
    test_loss: float | None = None


class _Epoch(msgspec.Struct):
    seconds: float


class _Contract(msgspec.Struct):
    created: datetime


def _read(path: Path) -> Run:
    config: _Config = _document(path / CONFIG_FILE, _Config)
    metrics: _Metrics = _document(path / METRICS_FILE, _Metrics)
    history: list[_Epoch] = _document(path / HISTORY_FILE, list[_Epoch])
    contract: _Contract = _document(path / CONTRACT_FILE, _Contract)
    metric = next((name for name in SCORES if getattr(metrics, name) is not None), None)
    return Run(
        id=path.name,
        model=config.model,
        data=utf8_name(config.data),
        metric=None if metric is None else SCORES[metric],
        score=None if metric is None else _finite(getattr(metrics, metric)),
        loss=_finite(metrics.test_loss),
        epochs=len(history),
        seconds=sum(epoch.seconds for epoch in history),
        created=contract.created.astimezone(UTC),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _document(path: Path, kind: Any) -> Any:
    try:
        # msgspec's own decoder rejects NaN.
        return msgspec.convert(json.loads(path.read_text(encoding="utf-8")), kind)
    except FileNotFoundError as error:
        raise ValueError(
            f"it has no {path.name}: not finished, or stopped before the end"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
