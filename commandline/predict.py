"""`rockstar predict`."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from clients.bulk.pace import Pace
from commandline.options import NumberRange, Service, json_option, model_option, service_options

DEFAULT_TOP = 3


def _pace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say how hard the service is asked, given to the command as `pace`."""

    @functools.wraps(command)
    def collected(*, batch: int, concurrency: int, patience: float, **others: Any) -> Any:
        pace = Pace(batch, concurrency=concurrency, patience=patience)
        return command(pace=pace, **others)

    options = (
        click.option(
            "--batch", default=Pace.batch, type=click.IntRange(1), help="Items in a request."
        ),
        click.option(
            "--concurrency",
            default=Pace.concurrency,
            type=click.IntRange(1, 256),
            help="Requests at a time.",
        ),
        click.option(
            "--patience",
            default=Pace.patience,
            type=NumberRange(0),
            help="Seconds to wait for a service that is away or too busy.",
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
    "--files-from", metavar="FILE", help="Read more paths from it, a line each; - is stdin."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A .csv, .jsonl or .parquet file."
)
@model_option("Name of the model; needed where several are served.")
@service_options
@click.option("--version", type=click.IntRange(1), help="Version; else the newest.")
@click.option(
    "--top", type=click.IntRange(1), help="How many labels to list: 3, in .csv and .parquet 1."
)
@click.option(
    "--strict",
    is_flag=True,
    help="Fail rows with missing values, unknown categories or other columns.",
)
@json_option
@click.option("--restart", is_flag=True, help="Replace the output, whole or cut off.")
@click.option(
    "--retry-failed", is_flag=True, help="Ask again about what failed in a complete output."
)
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
    """Ask a running service about FILES: images, folders, archives, or CSV files with a header.

    - reads one image, or the rows of one CSV file, from standard input.

    With -o the answers go to a file, in the order of the input, and what failed to a second one.
    Cut off, the same command continues where it was.

    Ends with status 4 where some items failed, 1 where all did, 3 where the service is away.
    """
    from commandline.predict_into_file import predict_into_file
    from commandline.predict_to_screen import predict_to_screen
    from commandline.predict_whom import Question

    if not files and files_from is None:
        raise click.UsageError("name FILES, folders or archives, or --files-from.")
    if service.grpc is not None and model is None:
        raise click.UsageError("--grpc needs --model: that API cannot list models.")
    _require_sense_of_output(output, as_json, again=restart or retry_failed)
    table = output is not None and output.suffix.lower() in (".csv", ".parquet")
    top = top or (1 if table else DEFAULT_TOP)
    question = Question(service, model, version, top, strict)
    if output is None:
        # Who waits for words wants to know at once that nobody is there.
        pace = dataclasses.replace(pace, patience=0)
        predict_to_screen(files, files_from, question, pace, as_json)
    else:
        predict_into_file(
            files, files_from, question, pace, output, restart=restart, retry=retry_failed
        )


def _require_sense_of_output(output: Path | None, as_json: bool, *, again: bool) -> None:
    if output is None and again:
        raise click.UsageError("--restart and --retry-failed go with -o.")
    if output is not None and as_json:
        raise click.UsageError("--json goes without -o: a .jsonl file has a line for each answer.")
