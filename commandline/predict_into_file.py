"""`rockstar predict -o`: any number of items into a file, continued where it was cut off."""

from contextlib import closing
from pathlib import Path

import click

from clients.bulk.asking import Ask
from clients.bulk.errors import BulkError
from clients.bulk.job import Summary, run
from clients.bulk.output import Files, Output, failed_names
from clients.bulk.pace import Pace
from clients.bulk.sinks.rows import text_of
from clients.bulk.sources import Paths
from clients.bulk.sources.stdin import STDIN
from clients.bulk.state import Asked
from commandline.exits import Exit
from commandline.predict_to_screen import nothing_in, say_adjusted
from commandline.predict_whom import NamedPaths, Question, service
from commandline.progress import Progress


def predict_into_file(
    files: tuple[str, ...],
    files_from: str | None,
    question: Question,
    pace: Pace,
    output: Path,
    *,
    restart: bool,
    retry: bool,
) -> None:
    """Predict all files, and say on stderr how far it is and what became of it.

    Raises:
        CallError: the service cannot be asked.
        BulkError: the run cannot begin or go on.
        OSError: a file is not there, or the output cannot be written.
    """
    named, place = NamedPaths(files, files_from), Files(output)
    _require_no_input(files, place)
    with service(question) as (served, ask, counts):
        asked = Asked(
            served.model,
            question.version,
            served.newest if question.version is None else None,
            question.top,
            retry,
            question.strict,
        )
        source = Paths(named, tables=served.tables, leave_out=place.all())
        result = Output(place, asked, restart=restart)
        progress = Progress(lambda: source.count() if named.countable else None)
        with closing(result):
            summary = _fill(result, source, ask, pace, progress)
    say_adjusted(counts)
    _summarise(summary, place, source.passed_over)


def _fill(result: Output, source: Paths, ask: Ask, pace: Pace, progress: Progress) -> Summary:
    """Do what is to be done of the source, or say how to go on."""
    retry = result.state.asked.retry
    try:
        names = failed_names(result.files) if retry else frozenset()
        items = (item for item in source if not retry or text_of(item.name) in names)
        with progress:
            return run(items, ask, result, pace, progress)
    except BaseException as error:
        _say_how_to_go_on(result, error)
        if not result.state.items and isinstance(error, BulkError):
            raise BulkError(nothing_in(source)) from error
        raise


def _require_no_input(files: tuple[str, ...], place: Files) -> None:
    for path in (Path(file) for file in files if file != STDIN):
        for ours in place.all():
            if ours.exists() and path.samefile(ours):
                raise BulkError(f"output: {path} is an input and would be written: choose another")


def _say_how_to_go_on(result: Output, error: BaseException) -> None:
    if not result.state.items:
        result.discard()
    elif not isinstance(error, BulkError):
        # Fewer than were answered where the disk is full.
        click.echo(f"{result.saved:,} items are done; the same command continues.", err=True)


def _summarise(summary: Summary, place: Files, passed_over: int) -> None:
    before = f" ({summary.skipped:,} of them before)" if summary.skipped else ""
    click.echo(
        f"{summary.items:,} items{before}, {summary.failed:,} failed, in {summary.seconds:.1f} s "
        f"({summary.rate:,.0f} items/s): {place.out}",
        err=True,
    )
    if passed_over:
        click.echo(f"{passed_over:,} other files were passed over.", err=True)
    if summary.failed:
        click.echo(f"What failed, and why: {place.failed}", err=True)
        some = summary.failed < summary.items
        raise click.exceptions.Exit(Exit.SOME_FAILED if some else Exit.FAILED)
