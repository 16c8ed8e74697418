"""`rockstar predict`."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rockstar_cli.options import NumberRange, Service, json_option, model_option, service_options
from rockstar_client.bulk.pace import Pace

DEFAULT_TOP = 3


def _pace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for batching and concurrency; the command gets them as `pace`."""

    @functools.wraps(command)
    def collected(*, batch: int, concurrency: int, patience: float, **others: Any) -> Any:
        pace = Pace(batch, concurrency=concurrency, patience=patience)
        return command(pace=pace, **others)

    options = (
        click.option(
            "--batch", default=Pace.batch, type=click.IntRange(1), help="Items per request."
        ),
        click.option(
            "--concurrency",
            default=Pace.concurrency,
            type=click.IntRange(1, 256),
            help="Concurrent requests.",
        ),
        click.option(
            "--patience",
            default=Pace.patience,
            type=NumberRange(0),
            help="Seconds to retry while the service is unreachable or overloaded.",
        ),
    )
    for option in reversed(options):
        collected = option(collected)
    return collected


@click.command(
    epilog="Examples: rockstar predict --model cnn seven.png; "
    "rockstar predict --model cnn scans/ -o answers.csv; "
    "curl -s URL | rockstar predict --model cnn -"
)
@click.argument("files", nargs=-1, type=click.Path())
@click.option(
    "--files-from", metavar="FILE", help="Read more paths from FILE, one per line; - is stdin."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A .csv, .jsonl or .parquet file."
)
@model_option("Name of the model; required if several are served.")
@service_options
@click.option("--version", type=click.IntRange(1), help="Version; default: the newest.")
@click.option(
    "--top",
    type=click.IntRange(1),
    help="Number of labels to list; default: 3, in .csv and .parquet 1.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Reject rows with missing values, unknown categories or extra columns.",
)
@json_option
@click.option("--restart", is_flag=True, help="Replace the output, complete or not.")
@click.option("--retry-failed", is_flag=True, help="Retry the failed items of a complete output.")
@_pace_options
def predict(
    files: tuple[str, ...],
    files_from: str | None,
    output: Path | None,
    model: str | None,
    service: Service,
    version: int | None,
    top: int | None,
    strict: bool,
    as_json: bool,
    restart: bool,
    retry_failed: bool,
    pace: Pace,
) -> None:
    """Predict FILES with a running service: images, folders, archives, or CSV files with a header.

    - reads one image, or the rows of one CSV file, from standard input.

    With -o, predictions are written to a file in input order, and failed items to a second file. To
    resume an interrupted run, repeat the command.

    Exits with status 4 if some items failed, 1 if all failed, 3 if the service is unreachable.
    """
    from rockstar_cli.prediction_run import Question, predict_into_file, predict_to_screen

    if not files and files_from is None:
        raise click.UsageError("give FILES, folders or archives, or --files-from.")
    if service.grpc is not None and model is None:
        raise click.UsageError("--grpc needs --model: TensorFlow Serving cannot list its models.")
    _check_output_options(output, as_json, again=restart or retry_failed)
    table = output is not None and output.suffix.lower() in (".csv", ".parquet")
    top = top or (1 if table else DEFAULT_TOP)
    question = Question(service, model, version, top, strict)
    if output is None:
        # Without an output file, somebody is watching: fail at once if the service is away.
        pace = dataclasses.replace(pace, patience=0)
        predict_to_screen(files, files_from, question, pace, as_json)
    else:
        predict_into_file(
            files, files_from, question, pace, output, restart=restart, retry=retry_failed
        )


def _check_output_options(output: Path | None, as_json: bool, *, again: bool) -> None:
    if output is None and again:
        raise click.UsageError("--restart and --retry-failed need -o.")
    if output is not None and as_json:
        raise click.UsageError("--json does not work with -o: write a .jsonl file instead.")
