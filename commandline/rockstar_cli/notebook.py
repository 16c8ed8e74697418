"""`rockstar notebook`: the lecture as notebooks, opened in JupyterLab."""

import importlib
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import click

from rockstar_cli.options import json_option
from rockstar_cli.output import echo_json


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
