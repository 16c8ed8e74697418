"""`rockstar predict`: prints predictions, or writes them to a file that a later run continues."""

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rockstar_cli.options import DEFAULT_MODELS, NumberRange, Service, json_option, service_options
from rockstar_cli.output import Exit, Progress, echo_json, printable
from rockstar_client.bulk import STDIN, BulkError, Pace

if TYPE_CHECKING:
    from rockstar_client.bulk.batch_client import AdjustmentCounts, PredictBatch, ServedModel
    from rockstar_client.bulk.items import Item
    from rockstar_client.bulk.job import Summary
    from rockstar_client.bulk.output import Output
    from rockstar_client.bulk.sources import Paths
    from rockstar_contract.contract import Prediction, Value

_DEFAULT_TOP = 3
# Significant digits of float32.
_DIGITS = 7
_CHUNK = 2**16


@dataclass(frozen=True)
class PredictOptions:
    """The service, the model and how to predict; see `rockstar predict --help`."""

    service: Service
    model: str | None
    version: int | None
    top: int
    strict: bool


@click.command(
    epilog="\b\nExamples:\n  rockstar predict --model cnn seven.png\n"
    "  rockstar predict --model cnn scans/ -o answers.csv\n"
    "  curl -s URL | rockstar predict --model cnn -\n"
    "  rockstar predict --engine local --model cnn s3://bucket/scans -o answers/"
)
@click.argument("files", nargs=-1, type=click.Path())
@click.option(
    "--files-from", metavar="FILE", help="Read more paths from FILE, one per line; - is stdin."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="A .csv, .jsonl or .parquet file; with --engine a folder, or URL, of Parquet files.",
)
@service_options("Name of the model; required if several are served.")
@click.option(
    "--top",
    type=click.IntRange(1),
    help="Number of labels to list.  [default: 3; in .csv and .parquet 1]",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Reject rows with missing values, unknown categories or extra columns.",
)
@json_option
@click.option("--restart", is_flag=True, help="Replace the output, complete or not.")
@click.option("--retry-failed", is_flag=True, help="Retry the failed items of a complete output.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray", "spark"]),
    help="Predict without a service: in processes on this machine, with Ray, or with Spark.",
)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    help=f"Model folder, with --engine.  [default: {DEFAULT_MODELS}]",
)
@click.option(
    "--workers", type=click.IntRange(1), help="With --engine.  [default: one for each core]"
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    help=f"Items per request, or per file with --engine.  [default: {Pace.batch}, 1024]",
)
@click.option(
    "--concurrency",
    default=Pace.concurrency,
    type=click.IntRange(1, 256),
    help="Concurrent requests.",
)
@click.option(
    "--patience",
    default=Pace.patience,
    type=NumberRange(0),
    help="Seconds to retry while the service is unreachable or overloaded.",
)
def predict(
    files: tuple[str, ...],
    files_from: str | None,
    output: str | None,
    model: str | None,
    service: Service,
    version: int | None,
    top: int | None,
    strict: bool,
    as_json: bool,
    restart: bool,
    retry_failed: bool,
    engine: str | None,
    models: Path | None,
    workers: int | None,
    batch: int | None,
    concurrency: int,
    patience: float,
) -> None:
    """Predict FILES: images, folders, archives, CSV files with a header, or Parquet files.

    FILES may be URLs of object stores. - reads one image, or the rows of one CSV file, from
    standard input. A running service predicts, or with --engine this command itself.

    With -o, predictions are written to a file in input order, and failed items to a second file. To
    resume an interrupted run, repeat the command.

    Exits with status 4 if some items failed, 1 if all failed, 3 if the service is unreachable.
    """
    if not files and files_from is None:
        raise click.UsageError("give FILES, folders or archives, or --files-from.")
    if service.grpc is not None and model is None:
        raise click.UsageError("--grpc needs --model: TensorFlow Serving cannot list its models.")
    if output is None and (restart or retry_failed):
        raise click.UsageError("--restart and --retry-failed need -o.")
    if output is not None and as_json:
        raise click.UsageError("--json does not work with -o: write a .jsonl file instead.")
    if engine is None and (models is not None or workers is not None):
        raise click.UsageError("--models and --workers need --engine: else a service predicts.")
    if engine is not None:
        if output is None or service.grpc is not None or retry_failed:
            raise click.UsageError(
                "--engine needs -o FOLDER, and does not work with --grpc and --retry-failed."
            )
        options = PredictOptions(service, model, version, top or 1, strict)
        _predict_with_engine(
            *(NamedPaths(files, files_from), options, output, restart),
            *(engine, models or Path(DEFAULT_MODELS), workers, batch),
        )
        return
    table = output is not None and output.lower().endswith((".csv", ".parquet"))
    top = top or (1 if table else _DEFAULT_TOP)
    options = PredictOptions(service, model, version, top, strict)
    # Without an output file, somebody is watching: fail at once if the service is unreachable.
    patience = 0.0 if output is None else patience
    pace = Pace(batch or Pace.batch, concurrency=concurrency, patience=patience)
    named = NamedPaths(files, files_from)
    if output is None:
        _predict_to_screen(named, options, pace, as_json)
    else:
        _predict_into_file(named, options, pace, Path(output), restart, retry_failed)


@contextmanager
def _connect(
    options: PredictOptions,
) -> "Iterator[tuple[ServedModel, PredictBatch, AdjustmentCounts]]":
    """Connect; yields the model, a function that predicts, and counts of adjusted rows."""
    from rockstar_client.bulk import batch_client

    service, version, counts = options.service, options.version, batch_client.AdjustmentCounts()
    how: dict[str, Any] = {
        "version": version,
        "top": options.top,
        "strict": options.strict,
        "counts": counts,
    }
    if service.grpc is None:
        with service.http_client() as client:
            served = batch_client.find_over_http(client, options.model)
            yield served, batch_client.over_http(client, served.model, **how), counts
        return
    with service.tensor_client() as server:
        served = batch_client.find_over_grpc(server, options.model or "", version)
        yield served, batch_client.over_backend(server, served.model, **how), counts


class NamedPaths:
    """Paths from arguments, then from a file with one path per line or NUL-separated."""

    def __init__(self, files: tuple[str, ...], files_from: str | None) -> None:
        """Require the arguments to exist; the file is read on iteration, stdin (-) only once.

        URLs are not looked up.
        """
        for path in (*files, *([files_from] if files_from is not None else [])):
            if path != STDIN and "://" not in path:
                os.stat(path)
        self.files, self._files_from = files, files_from

    @property
    def countable(self) -> bool:
        """Whether the paths can be iterated more than once."""
        return self._files_from != STDIN and STDIN not in self.files

    def __iter__(self) -> Iterator[str]:
        yield from self.files
        if self._files_from == STDIN:
            yield from _listed(cast("BufferedReader", sys.stdin.buffer))
        elif self._files_from is not None:
            with Path(self._files_from).open("rb") as file:
                yield from _listed(file)


def _listed(file: BufferedReader) -> Iterator[str]:
    """Read paths as printed by `find` or `find -print0`, in any encoding."""
    end, rest = b"", b""
    while True:
        chunk = file.read1(_CHUNK)
        if not end and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise BulkError("--files-from: expected UTF-8, got UTF-16: save it as UTF-8")
        text = rest + (chunk if end else chunk.removeprefix(codecs.BOM_UTF8))
        # A name may contain a line end but never NUL, and is shorter than a chunk.
        end = end or (b"\0" if b"\0" in text else b"\n")
        *names, rest = text.split(end) if chunk else (text, b"")
        for name in names:
            # Lists made on Windows have \r\n.
            path = name.removesuffix(b"\r") if end == b"\n" else name
            if path:
                yield os.fsdecode(path)
        if not chunk:
            return


def _predict_to_screen(
    named: NamedPaths, options: PredictOptions, pace: Pace, as_json: bool
) -> None:
    """Print predictions to stdout and failures to stderr."""
    from rockstar_client.bulk.items import Failed
    from rockstar_client.bulk.job import predict_items
    from rockstar_client.bulk.sources import Paths
    from rockstar_contract.contract import Value
    from rockstar_contract.text_files import utf8_name

    good = failed = newest = 0
    numbers = False
    document: list[Prediction | Value] = []
    with _connect(options) as (served, predict_batch, counts):
        source = Paths(named, tables=served.tables)
        with closing(predict_items(source, predict_batch, pace)) as batches:
            for batch in batches:
                lines: list[tuple[str, str]] = []
                for item, version, outcome in batch:
                    name = printable(utf8_name(item.name))
                    if isinstance(outcome, Failed):
                        click.echo(f"Error: {name}: {printable(outcome.reason)}", err=True)
                        failed += 1
                        continue
                    good, newest = good + 1, version
                    numbers = isinstance(outcome, Value)
                    if as_json:
                        document.append(outcome)
                    else:
                        lines.append((name, printable(_describe(outcome))))
                width = max((len(name) for name, _ in lines), default=0)
                digits = max((len(text) for _, text in lines), default=0) if numbers else 0
                for name, text in lines:
                    click.echo(f"{name:{width}}  {text:>{digits}}")
    if not good and not failed:
        raise BulkError(_nothing_in(source))
    if as_json and good:
        echo_json({"model": served.model, "version": newest, "predictions": document})
    _echo_adjustments(counts)
    if failed:
        raise click.exceptions.Exit(Exit.SOME_FAILED if good else Exit.FAILED)


def _describe(outcome: "Prediction | Value") -> str:
    from rockstar_contract.contract import Value

    if isinstance(outcome, Value):
        import numpy as np  # here, to keep help fast

        value = outcome.value
        if not 1e-4 <= abs(value) < 1e15:
            return f"{value:.{_DIGITS}g}"
        return np.format_float_positional(value, _DIGITS, unique=False, fractional=False, trim="-")
    scores = "  ".join(f"{score.label} {score.score:.4f}" for score in outcome.top)
    return f"{'not sure' if outcome.label is None else outcome.label}  ({scores})"


def _nothing_in(source: "Paths") -> str:
    over = f"; {source.passed_over:,} other files were skipped" if source.passed_over else ""
    return f"there is nothing to predict: expected {source.wants}{over}"


def _echo_adjustments(counts: "AdjustmentCounts") -> None:
    """Print to stderr what was imputed, taken as "other" or ignored in rows, if anything."""
    if summary := counts.summary():
        click.echo(printable(f"{summary} With --strict such rows fail."), err=True)


def _predict_into_file(
    named: NamedPaths, options: PredictOptions, pace: Pace, output: Path, restart: bool, retry: bool
) -> None:
    """Predict all files into an output file, with progress and a summary on stderr."""
    from rockstar_client.bulk.output import Files, Output, RunOptions
    from rockstar_client.bulk.sources import Paths

    place = Files(output)
    for path in (Path(file) for file in named.files if file != STDIN and "://" not in file):
        if any(ours.exists() and path.samefile(ours) for ours in place.all()):
            raise BulkError(f"output: {path} is an input file: choose another output")
    with _connect(options) as (served, predict_batch, counts):
        newest = served.newest if options.version is None else None
        run_options = RunOptions(
            served.model, options.version, newest, options.top, retry, options.strict
        )
        source = Paths(named, tables=served.tables, leave_out=place.all())
        progress = Progress(lambda: source.count() if named.countable else None)
        with closing(Output(place, run_options, restart=restart)) as result:
            summary = _fill(result, source, predict_batch, pace, progress)
    _echo_adjustments(counts)
    _echo_summary(summary, place.out, place.failed, source.passed_over)


def _fill(
    result: "Output", source: "Paths", predict_batch: "PredictBatch", pace: Pace, progress: Progress
) -> "Summary":
    """Predict the items that are not done yet; on failure print how to resume."""
    from rockstar_client.bulk.job import run
    from rockstar_contract.text_files import utf8_name

    try:
        items: Iterable[Item] = source
        if result.state.options.retry:
            names = result.files.failed_names()
            items = (item for item in source if utf8_name(item.name) in names)
        with progress:
            return run(items, predict_batch, result, pace, progress)
    except BaseException as error:  # Ctrl-C too
        if not result.state.items:
            result.discard()
            if isinstance(error, BulkError):
                raise BulkError(_nothing_in(source)) from error
        elif not isinstance(error, BulkError):
            # If the disk is full, fewer than were predicted.
            click.echo(
                f"{result.saved:,} items are done; run the same command to resume.", err=True
            )
        raise


def _predict_with_engine(
    named: NamedPaths,
    options: PredictOptions,
    output: str,
    restart: bool,
    engine: str,
    models: Path,
    workers: int | None,
    batch: int | None,
) -> None:
    """Predict all files into a folder of Parquet files, with progress and a summary on stderr."""
    from rockstar_cli import engines
    from rockstar_client.bulk.batch_client import AdjustmentCounts
    from rockstar_client.bulk.parquet import is_url
    from rockstar_client.bulk.sources import Paths
    from rockstar_contract.contract import TableInput

    if output.lower().endswith((".csv", ".jsonl")):
        raise BulkError(f"output: expected a folder or URL with --engine, got {output}")
    folder = engines.find_version(models, options.model, options.version)
    model = engines.open_model(folder, options.top, options.strict)
    tables = isinstance(model.contract.input, TableInput)
    source = Paths(named, tables=tables, leave_out=[Path(output)])
    progress, counts = (
        Progress(lambda: source.count() if named.countable else None),
        AdjustmentCounts(),
    )
    # Workers may have other current folders.
    place = output if is_url(output) else os.path.abspath(output)
    try:
        with progress:
            summary = engines.run(
                *(source, engines.PartWriter(model, place), engine),
                workers=workers or os.cpu_count() or 1,
                part_items=batch or engines.PART_ITEMS,
                restart=restart,
                counts=counts,
                on_progress=progress,
            )
    except KeyboardInterrupt:
        click.echo("Run the same command to resume.", err=True)
        raise
    if not summary.items:
        raise BulkError(_nothing_in(source))
    _echo_adjustments(counts)
    _echo_summary(summary, output, f"the column error in {output}", source.passed_over)


def _echo_summary(summary: "Summary", output: object, failed: object, passed_over: int) -> None:
    before = f" ({summary.skipped:,} in earlier runs)" if summary.skipped else ""
    click.echo(
        f"{summary.items:,} items{before}, {summary.failed:,} failed, in {summary.seconds:.1f} s "
        f"({summary.rate:,.0f} items/s): {output}",
        err=True,
    )
    if passed_over:
        click.echo(f"{passed_over:,} other files were skipped.", err=True)
    if summary.failed:
        click.echo(f"Failed items and reasons: {failed}", err=True)
        some = summary.failed < summary.items
        raise click.exceptions.Exit(Exit.SOME_FAILED if some else Exit.FAILED)
