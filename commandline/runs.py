"""`rockstar runs`."""

from pathlib import Path

import click

from commandline.options import json_option
from commandline.output import echo_json
from commandline.table import table
from training.runs import SORTABLE, Run, Skipped, read_runs, sort_runs

_HEAD = ("", "run", "model", "data", "score", "", "loss", "epochs", "seconds", "created (UTC)")
# Columns of figures, which are set to the right.
_RIGHT = {4, 6, 7, 8}
_UNKNOWN = "–"


@click.command(epilog="Example: rockstar runs --sort score")
@click.option(
    "--workdir", default=".", type=click.Path(path_type=Path), help="Has the folder runs/."
)
@click.option("--sort", type=click.Choice(list(SORTABLE)), default="created", help="Column.")
@json_option
def runs(workdir: Path, sort: str, as_json: bool) -> None:
    """Compare training runs: the newest, or the best, first.

    The best of each data set is marked with a star.
    """
    folder = workdir / "runs"
    try:
        found, skipped = read_runs(folder)
    except OSError as error:
        raise click.ClickException(
            f"cannot read {folder}: {error.strerror}; `rockstar train` writes runs there, "
            "--workdir names another place"
        ) from error
    found = sort_runs(found, sort)
    if as_json:
        echo_json({"runs": found, "skipped": skipped})
        return
    click.echo(
        table([_HEAD, *map(_row, found)], right=_RIGHT)
        if found
        else f"No finished runs in {folder}."
    )
    _tell(skipped)


def _tell(skipped: list[Skipped]) -> None:
    for folder in skipped:
        click.echo(f"skipped {folder.id}: {folder.why}", err=True)


def _row(run: Run) -> tuple[str, ...]:
    return (
        "*" if run.best else "",
        run.id,
        run.model or _UNKNOWN,
        run.data or _UNKNOWN,
        _figure(run.score, ".4f"),
        run.metric or "",
        _figure(run.loss, ".4g"),
        _UNKNOWN if run.epochs is None else str(run.epochs),
        _figure(run.seconds, ".1f"),
        f"{run.created:%Y-%m-%d %H:%M}",
    )


def _figure(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else f"{value:{form}}"
