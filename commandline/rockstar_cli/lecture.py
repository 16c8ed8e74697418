"""`rockstar learning-rates` and `rockstar notebook`: a figure of the lecture, and the lecture."""

import importlib
import subprocess
import sys
from functools import partial
from importlib.resources import files
from pathlib import Path

import click

from rockstar_cli.options import json_option
from rockstar_cli.output import echo_json, table
from rockstar_training.config import CLASSIFIERS, DEFAULT_SEED


@click.command(name="learning-rates", epilog="Example: rockstar learning-rates --model mlp")
@click.option("--model", type=click.Choice(CLASSIFIERS), default="logistic", help="Model to train.")
@click.option(
    "--out",
    default="learning_rates.png",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG file to write.",
)
@click.option("--epochs", default=15, type=click.IntRange(4, 1000), help="Epochs per run.")
@click.option(
    "--seed",
    default=DEFAULT_SEED,
    type=click.IntRange(0, 2**32 - 1),
    help="Random seed of all runs.",
)
@json_option
def learning_rates(model: str, out: Path, epochs: int, seed: int, as_json: bool) -> None:
    """Plot the loss with a very high, a high, a good and a low learning rate.

    Trains a small model on the bundled digits with plain gradient descent at increasing learning
    rates, and plots four of them.
    """
    # Fail before training if the file cannot be written.
    out.parent.mkdir(parents=True, exist_ok=True)
    from rockstar_training.learning_rates import LADDER, draw_curves, four_curves
    from rockstar_training.report.theme import png

    with click.progressbar(
        length=len(LADDER),
        label="Learning rates",
        file=sys.stderr,
        width=24,
        show_pos=True,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        curves = four_curves(model, epochs, seed, lambda: bar.update(1))
    title = f"{model} on digits, plain gradient descent, {epochs} epochs"
    out.write_bytes(png(partial(draw_curves, curves, title)))
    documents, rows = [], [["", "rate", "loss: before", "highest", "at the end"]]
    for name, curve in curves.items():
        losses = curve.losses.tolist()
        documents.append(
            {"name": name, "rate": curve.rate, "settled": curve.settled, "losses": losses}
        )
        shown = (losses[0], max(losses), curve.settled)
        rows.append([name, f"{curve.rate:g}", *(f"{loss:.3f}" for loss in shown)])
    if as_json:
        echo_json({"model": model, "epochs": epochs, "path": str(out), "runs": documents})
        return
    click.echo(table(rows, right={1, 2, 3, 4}))
    click.echo("(at the end: mean of the last quarter of the epochs)")
    click.echo(f"The plot is in {out}")


@click.command(epilog="\b\nExamples:\n  rockstar notebook\n  rockstar notebook lecture --no-open")
@click.argument("folder", default="notebooks", type=click.Path(file_okay=False, path_type=Path))
@click.option("--open/--no-open", "opens", default=True, help="Open JupyterLab.")
@click.option("--browser/--no-browser", default=True, help="Open a browser, or only print the URL.")
@json_option
def notebook(folder: Path, opens: bool, browser: bool, as_json: bool) -> None:
    """Copy the lecture's seven notebooks into FOLDER, and open it in JupyterLab.

    Notebooks that are in FOLDER already are kept, with your changes; delete one to get the original
    again. JupyterLab listens on this machine only, and its URL has a token. Ctrl-C stops it.
    """
    if opens:  # before files are written
        importlib.import_module("jupyterlab")
    folder.mkdir(parents=True, exist_ok=True)
    copied, kept = [], []
    found = (file for file in files("rockstar_notebooks").iterdir() if file.name.endswith(".ipynb"))
    for source in sorted(found, key=lambda file: file.name):
        target = folder / source.name
        if target.exists():
            kept.append(source.name)
        else:
            target.write_bytes(source.read_bytes())
            copied.append(source.name)
    if as_json:
        echo_json({"folder": str(folder), "copied": copied, "kept": kept})
    else:
        click.echo(f"{folder}: copied {len(copied)} notebooks, kept {len(kept)}", err=opens)
    if opens:
        # Root, as in a container, needs an option of its own.
        command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", "--allow-root"]
        if not browser:
            command.append("--no-browser")
        sys.exit(subprocess.run([*command, str(folder)], check=False).returncode)
