"""Runs of `rockstar predict`: to the screen, or into a file that a later run continues."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import click

from rockstar_cli.failures import Exit
from rockstar_cli.options import Service
from rockstar_cli.output import Progress, echo_json, printable
from rockstar_client.bulk.batch_client import (
    AdjustmentCounts,
    PredictBatch,
    ServedModel,
    find_over_grpc,
    find_over_http,
    over_grpc,
    over_http,
)
from rockstar_client.bulk.items import Failed, Item, Outcome
from rockstar_client.bulk.job import Summary, predict_items, run
from rockstar_client.bulk.output import Files, Output
from rockstar_client.bulk.pace import Pace
from rockstar_client.bulk.sinks import utf8_name
from rockstar_client.bulk.sources import STDIN, Paths
from rockstar_client.bulk.state import BulkError, RunOptions
from rockstar_client.channel import ChannelOptions
from rockstar_client.endpoint import fixed_headers
from rockstar_client.http import HttpClient
from rockstar_client.retry import NEVER_AGAIN
from rockstar_client.tfserving import TFServingClient
from rockstar_contract.labels import Prediction, Value

_CHUNK = 2**16


@dataclass(frozen=True)
class Question:
    """The service, model and options of a run; see `rockstar predict --help`."""

    service: Service
    model: str | None
    version: int | None
    top: int
    strict: bool


@contextmanager
def service(question: Question) -> Iterator[tuple[ServedModel, PredictBatch, AdjustmentCounts]]:
    """Connect; yields the model, a function that predicts, and counts of adjusted rows.

    Raises:
        CallError: the call failed.
        InvalidInputError: the model is ambiguous.
    """
    to, counts = question.service, AdjustmentCounts()
    how: dict[str, Any] = {
        "version": question.version,
        "top": question.top,
        "strict": question.strict,
        "counts": counts,
    }
    if to.grpc is not None:
        headers = tuple(fixed_headers(to.api_key, None).items())
        options = ChannelOptions(tls=to.tls, proxy=True)
        with TFServingClient(to.grpc, headers=lambda: headers, options=options) as server:
            served = find_over_grpc(server, question.model or "", question.version)
            yield served, over_grpc(server, served.model, **how), counts
        return
    with HttpClient(to.url, api_key=to.api_key, tls=to.tls, retry=NEVER_AGAIN) as client:
        served = find_over_http(client, question.model)
        yield served, over_http(client, served.model, **how), counts


class NamedPaths:
    """Paths from arguments, then from a file with one path per line or NUL-separated."""

    def __init__(self, files: tuple[str, ...], files_from: str | None) -> None:
        """Check that the arguments exist; the file is read on iteration, stdin (-) only once.

        Raises:
            OSError: a path does not exist.
        """
        for path in (*files, *([files_from] if files_from is not None else [])):
            if path != STDIN:
                os.stat(path)
        self._files = files
        self._files_from = files_from

    @property
    def countable(self) -> bool:
        """Whether the paths can be iterated more than once."""
        return self._files_from != STDIN and STDIN not in self._files

    def __iter__(self) -> Iterator[str]:
        yield from self._files
        if self._files_from == STDIN:
            yield from _listed(cast("BufferedReader", sys.stdin.buffer))
        elif self._files_from is not None:
            with Path(self._files_from).open("rb") as file:
                yield from _listed(file)


def _listed(file: BufferedReader) -> Iterator[str]:
    """Paths as printed by `find` or `find -print0`, in any encoding."""
    end, rest = b"", b""
    while chunk := file.read1(_CHUNK):
        if not end and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise BulkError("--files-from: expected UTF-8, got UTF-16: save it as UTF-8")
        chunk = chunk if end else chunk.removeprefix(codecs.BOM_UTF8)
        # A name may hold a line end, none holds NUL; none is as long as a chunk.
        end = end or (b"\0" if b"\0" in chunk else b"\n")
        *whole, rest = (rest + chunk).split(end)
        yield from _paths(whole, end)
    yield from _paths([rest], end)


def _paths(names: Iterable[bytes], end: bytes) -> Iterator[str]:
    for name in names:
        # Lists that were made on Windows.
        path = name.removesuffix(b"\r") if end == b"\n" else name
        if path:
            yield os.fsdecode(path)


_Succeeded = list[tuple[Item, Prediction | Value]]


@dataclass
class _Shown:
    """Counts of what was printed; with --json the predictions, printed at the end."""

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
    """Print predictions to stdout and failures to stderr.

    Raises:
        CallError: the call failed.
        OSError: a file does not exist.
        BulkError: there is nothing to predict.
    """
    named = NamedPaths(files, files_from)
    with service(question) as (served, ask, counts):
        source = Paths(named, tables=served.tables)
        with closing(predict_items(source, ask, pace)) as batches:
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
    echo_adjustments(counts)
    if shown.failed:
        raise click.exceptions.Exit(Exit.SOME_FAILED if shown.good else Exit.FAILED)


def nothing_in(source: Paths) -> str:
    """The message for an empty input."""
    over = f"; {source.passed_over:,} other files were skipped" if source.passed_over else ""
    return f"there is nothing to predict: expected {source.wants}{over}"


def echo_adjustments(counts: AdjustmentCounts) -> None:
    """Print to stderr what was imputed, taken as "other" or ignored in rows, if anything."""
    if summary := counts.summary():
        click.echo(printable(f"{summary} With --strict such rows fail."), err=True)


def _show(batches: Iterable[list[tuple[Item, int, Outcome]]], as_json: bool) -> _Shown:
    shown = _Shown()
    for batch in batches:
        found: _Succeeded = []
        for item, version, outcome in batch:
            if isinstance(outcome, Failed):
                line = f"Error: {utf8_name(item.name)}: {outcome.reason}"
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


def _print(found: _Succeeded) -> None:
    names = [printable(utf8_name(item.name)) for item, _ in found]
    width = max(map(len, names), default=0)
    for name, (_, outcome) in zip(names, found, strict=True):
        text = f"{outcome.value:g}" if isinstance(outcome, Value) else _labels(outcome)
        click.echo(f"{name:{width}}  {printable(text)}")


def _labels(prediction: Prediction) -> str:
    scores = "  ".join(f"{score.label} {score.score:.4f}" for score in prediction.top)
    return f"{'not sure' if prediction.label is None else prediction.label}  ({scores})"


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
    """Predict all files into an output file, with progress and a summary on stderr.

    Raises:
        CallError: the call failed.
        BulkError: the run cannot start or continue.
        OSError: a file does not exist, or the output cannot be written.
    """
    named, place = NamedPaths(files, files_from), Files(output)
    _check_output_is_no_input(files, place)
    with service(question) as (served, ask, counts):
        asked = RunOptions(
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
    echo_adjustments(counts)
    _summarise(summary, place, source.passed_over)


def _fill(
    result: Output, source: Paths, ask: PredictBatch, pace: Pace, progress: Progress
) -> Summary:
    """Predict what is not done yet; on failure print how to resume."""
    retry = result.state.options.retry
    try:
        names = result.files.failed_names() if retry else frozenset()
        items = (item for item in source if not retry or utf8_name(item.name) in names)
        with progress:
            return run(items, ask, result, pace, progress)
    except BaseException as error:
        _echo_how_to_resume(result, error)
        if not result.state.items and isinstance(error, BulkError):
            raise BulkError(nothing_in(source)) from error
        raise


def _check_output_is_no_input(files: tuple[str, ...], place: Files) -> None:
    for path in (Path(file) for file in files if file != STDIN):
        for ours in place.all():
            if ours.exists() and path.samefile(ours):
                raise BulkError(f"output: {path} is an input file: choose another output")


def _echo_how_to_resume(result: Output, error: BaseException) -> None:
    if not result.state.items:
        result.discard()
    elif not isinstance(error, BulkError):
        # If the disk is full, fewer than were predicted.
        click.echo(f"{result.saved:,} items are done; run the same command to resume.", err=True)


def _summarise(summary: Summary, place: Files, passed_over: int) -> None:
    before = f" ({summary.skipped:,} in earlier runs)" if summary.skipped else ""
    click.echo(
        f"{summary.items:,} items{before}, {summary.failed:,} failed, in {summary.seconds:.1f} s "
        f"({summary.rate:,.0f} items/s): {place.out}",
        err=True,
    )
    if passed_over:
        click.echo(f"{passed_over:,} other files were skipped.", err=True)
    if summary.failed:
        click.echo(f"Failed items and reasons: {place.failed}", err=True)
        some = summary.failed < summary.items
        raise click.exceptions.Exit(Exit.SOME_FAILED if some else Exit.FAILED)
