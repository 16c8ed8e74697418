"""Reading what training runs left in runs/, to compare them. Imports without TensorFlow.

A run's folder may be from an older release, or of a run that is not finished: what is missing is
None, and a folder that tells too little is skipped and said so.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.json"
# Where it is there, it knows when the model was made; else the file's own time has to do.
CONTRACT_FILE = "contract.json"

# What a run is judged by, the first one that it has, and what people call it.
_SCORES = {"test_accuracy": "accuracy", "test_r2": "R²"}
_LOSS = "test_loss"

# Columns that runs can be sorted by, and whether the greatest comes first.
SORTABLE = {
    "created": True,
    "id": False,
    "model": False,
    "data": False,
    "score": True,
    "loss": False,
    "epochs": False,
    "seconds": False,
}


@dataclass(frozen=True)
class Run:
    """One finished run; None for what its folder does not tell.

    Attributes:
        id: name of its folder.
        model: which network.
        data: which data set.
        metric: what the score is: "accuracy" or "R²".
        score: on the held-out examples.
        loss: on them.
        epochs: that were trained.
        seconds: that the epochs took.
        created: when, UTC.
        best: whether no run on the same data has a better score.
    """

    id: str
    model: str | None
    data: str | None
    metric: str | None
    score: float | None
    loss: float | None
    epochs: int | None
    seconds: float | None
    created: datetime
    best: bool = False


@dataclass(frozen=True)
class Skipped:
    """A folder that is not read as a run, and why."""

    id: str
    why: str


class _UnreadableError(Exception):
    """The folder cannot be read as a run; the message says why."""


def read_runs(folder: Path) -> tuple[list[Run], list[Skipped]]:
    """All runs in a folder, by id, and what else lies there.

    Raises:
        OSError: the folder cannot be listed.
    """
    found: list[Run] = []
    skipped: list[Skipped] = []
    entries = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    for path in sorted(entries, key=lambda path: _natural(path.name)):
        try:
            found.append(_read(path))
        except (_UnreadableError, OSError) as error:
            skipped.append(Skipped(path.name, str(error)))
    return _mark_best(found), skipped


def sort_runs(runs: Sequence[Run], column: str) -> list[Run]:
    """Runs in the order of a column of SORTABLE: the best, the newest or the least first.

    Runs that have no value there come last.
    """
    known = [run for run in runs if _key(run, column) is not None]
    unknown = [run for run in runs if _key(run, column) is None]
    ordered = sorted(known, key=lambda run: _key(run, column), reverse=SORTABLE[column])
    return [*ordered, *unknown]


def _key(run: Run, column: str) -> Any:
    value = getattr(run, column)
    if isinstance(value, float) and math.isnan(value):
        return None
    return _natural(value) if column == "id" else value


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Key that has cnn-9 before cnn-10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _mark_best(runs: list[Run]) -> list[Run]:
    best: dict[tuple[str | None, str | None], tuple[float, float]] = {}
    for run in runs:
        rank = _rank(run)
        kind = (run.data, run.metric)
        if rank is not None and rank > best.get(kind, (-math.inf, -math.inf)):
            best[kind] = rank
    return [
        replace(run, best=True) if _rank(run) == best.get((run.data, run.metric), ()) else run
        for run in runs
    ]


def _rank(run: Run) -> tuple[float, float] | None:
    """Score, then the lower loss."""
    if run.score is None or math.isnan(run.score):
        return None
    known = run.loss is not None and not math.isnan(run.loss)
    return run.score, -run.loss if known and run.loss is not None else -math.inf


def _read(path: Path) -> Run:
    if not (path / CONFIG_FILE).exists():
        raise _UnreadableError(f"it has no {CONFIG_FILE}")
    if not (path / METRICS_FILE).exists():
        raise _UnreadableError(f"it has no {METRICS_FILE}: not finished, or stopped before the end")
    config, metrics = _document(path / CONFIG_FILE, dict), _document(path / METRICS_FILE, dict)
    history: list[Any] | None = None
    if (path / HISTORY_FILE).exists():
        history = _document(path / HISTORY_FILE, list)
    metric = next((name for name in _SCORES if name in metrics), None)
    return Run(
        id=path.name,
        model=_text(config.get("model")),
        data=_text(config.get("data")),
        metric=None if metric is None else _SCORES[metric],
        score=None if metric is None else _number(metrics, metric),
        loss=_number(metrics, _LOSS),
        epochs=None if history is None else len(history),
        seconds=_seconds(history),
        created=_created(path),
    )


def _document(path: Path, kind: type) -> Any:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _UnreadableError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(document, kind):
        wanted = "an object" if kind is dict else "a list"
        raise _UnreadableError(f"{path.name} should be {wanted}, got {type(document).__name__}")
    return document


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(document: dict[str, Any], name: str) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _UnreadableError(f"{METRICS_FILE}: {name} should be a number, got {value!r}")
    return float(value)


def _seconds(history: list[Any] | None) -> float | None:
    told = [epoch.get("seconds") for epoch in history or [] if isinstance(epoch, dict)]
    known = [float(value) for value in told if isinstance(value, (int, float))]
    return sum(known) if known else None


def _created(path: Path) -> datetime:
    if (path / CONTRACT_FILE).exists():
        written = _document(path / CONTRACT_FILE, dict).get("created")
        try:
            return datetime.fromisoformat(written).astimezone(UTC)
        except (TypeError, ValueError) as error:
            raise _UnreadableError(f"{CONTRACT_FILE}: created is no time: {written!r}") from error
    return datetime.fromtimestamp(int((path / METRICS_FILE).stat().st_mtime), UTC)
