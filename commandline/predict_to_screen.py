"""`rockstar predict` without -o: answers as they come, for people or as one JSON document."""

from contextlib import closing

import click

from clients.bulk.errors import BulkError
from clients.bulk.item import Failed, Item
from clients.bulk.job import answers
from clients.bulk.pace import Pace
from clients.bulk.sinks.rows import text_of
from clients.bulk.sources import Paths
from commandline.exits import Exit
from commandline.output import echo_json
from commandline.predict_whom import NamedPaths, Question, service
from serving.labels import Prediction, Value

_Good = list[tuple[Item, Prediction | Value]]


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
        InvalidInputError: a file is not there.
        BulkError: there is nothing to predict.
    """
    named = NamedPaths(files, files_from)
    document: list[Prediction | Value] = []
    good = failed = answered_by = 0
    with service(question) as (served, ask):
        source = Paths(named, tables=served.tables)
        with closing(answers(source, ask, pace)) as batches:
            for batch in batches:
                found: _Good = []
                for item, version, outcome in batch:
                    if isinstance(outcome, Failed):
                        click.echo(f"Error: {text_of(item.name)}: {outcome.reason}", err=True)
                        failed += 1
                    else:
                        found.append((item, outcome))
                        answered_by = version
                good += len(found)
                if as_json:
                    document += [outcome for _, outcome in found]
                else:
                    _print(found)
    if not good and not failed:
        raise BulkError(nothing_in(source))
    if as_json and good:
        whole = {"model": served.model, "version": answered_by, "predictions": document}
        echo_json(whole)
    if failed:
        raise click.exceptions.Exit(Exit.SOME_FAILED if good else Exit.FAILED)


def nothing_in(source: Paths) -> str:
    """Why there is nothing to predict."""
    over = f"; {source.passed_over:,} other files were passed over" if source.passed_over else ""
    return f"there is nothing to predict: expected {source.wants}{over}"


def _print(found: _Good) -> None:
    width = max((len(text_of(item.name)) for item, _ in found), default=0)
    for item, outcome in found:
        text = f"{outcome.value:g}" if isinstance(outcome, Value) else _labels(outcome)
        click.echo(f"{text_of(item.name):{width}}  {text}")


def _labels(prediction: Prediction) -> str:
    scores = "  ".join(f"{score.label} {score.score:.4f}" for score in prediction.top)
    return f"{prediction.label}  ({scores})"
