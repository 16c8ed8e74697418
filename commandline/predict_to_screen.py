"""`rockstar predict` without -o: answers as they come, for people or as one JSON document."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field

import click

from clients.bulk.adjustments import AdjustmentCounts
from clients.bulk.errors import BulkError
from clients.bulk.item import Failed, Item, Outcome
from clients.bulk.job import answers
from clients.bulk.pace import Pace
from clients.bulk.sinks.rows import text_of
from clients.bulk.sources import Paths
from commandline.exits import Exit
from commandline.output import echo_json, printable
from commandline.predict_whom import NamedPaths, Question, service
from serving.labels import Prediction, Value

_Good = list[tuple[Item, Prediction | Value]]


@dataclass
class _Shown:
    """What was printed; with --json the good answers, which are printed at the end."""

    good: int = 0
    failed: int = 0
    version: int = 0
    document: list[Prediction | Value] = field(default_factory=list)


def predict_to_screen(
    files: tuple[str, ...],
    files_from: str | None,
    question: Question,
    pace: Pace,
    as_json: bool,
) -> None:
    """Print what the service says of the files; what failed goes to stderr.

    Raises:
        CallError: the service cannot be asked.
        OSError: a file is not there.
        BulkError: there is nothing to predict.
    """
    named = NamedPaths(files, files_from)
    with service(question) as (served, ask, counts):
        source = Paths(named, tables=served.tables)
        with closing(answers(source, ask, pace)) as batches:
            shown = _show(batches, as_json)
    if not shown.good and not shown.failed:
        raise BulkError(nothing_in(source))
    if as_json and shown.good:
        whole = {
            "model": served.model,
            "version": shown.version,
            "predictions": shown.document,
        }
        echo_json(whole)
    say_adjusted(counts)
    if shown.failed:
        raise click.exceptions.Exit(Exit.SOME_FAILED if shown.good else Exit.FAILED)


def nothing_in(source: Paths) -> str:
    """Why there is nothing to predict."""
    over = f"; {source.passed_over:,} other files were passed over" if source.passed_over else ""
    return f"there is nothing to predict: expected {source.wants}{over}"


def say_adjusted(counts: AdjustmentCounts) -> None:
    """Say on stderr what was imputed, taken as "other" and ignored in rows, if anything was."""
    if summary := counts.summary():
        click.echo(printable(f"{summary} With --strict such rows fail."), err=True)


def _show(batches: Iterable[list[tuple[Item, int, Outcome]]], as_json: bool) -> _Shown:
    shown = _Shown()
    for batch in batches:
        found: _Good = []
        for item, version, outcome in batch:
            if isinstance(outcome, Failed):
                line = f"Error: {text_of(item.name)}: {outcome.reason}"
                click.echo(printable(line), err=True)
                shown.failed += 1
            else:
                found.append((item, outcome))
                shown.version = version
        shown.good += len(found)
        if as_json:
            shown.document += [outcome for _, outcome in found]
        else:
            _print(found)
    return shown


def _print(found: _Good) -> None:
    names = [printable(text_of(item.name)) for item, _ in found]
    width = max(map(len, names), default=0)
    for name, (_, outcome) in zip(names, found, strict=True):
        text = f"{outcome.value:g}" if isinstance(outcome, Value) else _labels(outcome)
        click.echo(f"{name:{width}}  {printable(text)}")


def _labels(prediction: Prediction) -> str:
    scores = "  ".join(f"{score.label} {score.score:.4f}" for score in prediction.top)
    return f"{'not sure' if prediction.label is None else prediction.label}  ({scores})"
