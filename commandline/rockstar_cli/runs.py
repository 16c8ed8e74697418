"""`rockstar runs` and `rockstar watch`: training runs in a table, or in the browser."""

import threading
from contextlib import suppress
from pathlib import Path

import click

from rockstar_cli.options import json_option
from rockstar_cli.output import Exit, echo_json, table
from rockstar_training.runs import (
    SORTABLE,
    Run,
    find_run,
    read_runs,
    run_folders,
    sort_runs,
    write_runs_page,
)

_COLUMNS = ["", "run", "model", "data", "score", "", "loss", "epochs", "seconds", "created (UTC)"]
# Columns of numbers, aligned right.
_RIGHT = {4, 6, 7, 8}


@click.command(epilog="Example: rockstar runs --sort score")
@click.option("--workdir", default=".", type=click.Path(path_type=Path), help="Folder with runs/.")
@click.option(
    "--sort", type=click.Choice(list(SORTABLE)), default="created", help="Column to sort by."
)
@click.option("--html", is_flag=True, help="Write runs/index.html, with links to the reports.")
@json_option
def runs(workdir: Path, sort: str, html: bool, as_json: bool) -> None:
    """Compare training runs, newest or best first.

    The best run of each data set is marked with a star.
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
    try:
        page = write_runs_page(folder, found, skipped) if html else None
    except OSError as error:
        raise click.ClickException(f"cannot write to {folder}: {error.strerror}") from error
    if as_json:
        echo_json({"runs": found, "skipped": skipped} | ({"page": str(page)} if page else {}))
        return
    if page:
        click.echo(page)
        return
    if found:
        click.echo(table([_COLUMNS, *map(_run_row, found)], right=_RIGHT))
    else:
        click.echo(f"No finished runs in {folder}.")
    for each in skipped:
        click.echo(f"skipped {each.id}: {each.why}", err=True)


def _run_row(run: Run) -> tuple[str, ...]:
    def figure(value: float | None, form: str) -> str:
        return "–" if value is None else f"{value:{form}}"

    return (
        "*" if run.best else "",
        run.id,
        run.model,
        run.data,
        figure(run.score, ".4f"),
        run.metric or "",
        figure(run.loss, ".4g"),
        str(run.epochs),
        f"{run.seconds:.1f}",
        f"{run.created:%Y-%m-%d %H:%M}",
    )


@click.command(epilog="Examples: rockstar watch cnn, rockstar watch cnn-1 mlp-1")
@click.argument("run", nargs=-1)
@click.option("--workdir", default=".", type=click.Path(path_type=Path), help="Folder with runs/.")
@json_option
def watch(run: tuple[str, ...], workdir: Path, as_json: bool) -> None:
    """Show one or two trainings in the browser, running or finished; by default the newest.

    RUN is a run such as cnn-1, its folder, or the name of a model: its newest run. The page can
    pause, stop and steer a training that runs.
    """
    if len(run) > 2:
        raise click.UsageError(f"expected at most two runs, which are compared, got {len(run)}")
    folders = [find_run(workdir / "runs", name) for name in run]
    folders = folders or run_folders(workdir / "runs")[:1]
    if not folders:
        raise click.ClickException(
            f"no runs in {workdir / 'runs'}; `rockstar train` writes runs there, "
            "--workdir names another place"
        )
    from rockstar_cli.watch import serve_page

    with suppress(KeyboardInterrupt), serve_page(workdir / "runs", folders) as (url, _):
        if url is None:
            raise click.exceptions.Exit(Exit.FAILED)
        click.echo("Ctrl-C ends this page, not the training.", err=True)
        if as_json:
            echo_json({"url": url, "runs": [str(folder) for folder in folders]})
        threading.Event().wait()
