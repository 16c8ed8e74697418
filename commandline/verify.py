"""`rockstar verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commandline.exits import Exit
from commandline.names import ModelAndVersion
from commandline.options import json_option, models_option
from commandline.output import echo_json

if TYPE_CHECKING:
    from serving.registry import Verdict


@click.command(epilog="Example: rockstar verify cnn/3")
@click.argument("which", metavar="[MODEL[/VERSION]]", type=ModelAndVersion(), required=False)
@models_option
@json_option
def verify(which: str | None, models: Path, as_json: bool) -> None:
    """Compare every file of all versions, or of some, with the hashes of their manifests.

    Ends with status 1 where anything differs, or where a label points to nothing.
    """
    from serving import registry

    model, version = _parsed(which)
    verdicts = registry.verify(models, model, version, None if as_json else _say)
    dangling = registry.dangling_labels(models) if model is None else []
    bad = sum(bool(verdict.problem) for verdict in verdicts)
    if as_json:
        documents = [*map(_document, verdicts)]
        echo_json({"ok": not (bad or dangling), "versions": documents, "dangling_labels": dangling})
    for sentence in [] if as_json else dangling:
        click.echo(sentence)
    if bad:
        click.echo(
            f"{bad} of {len(verdicts)} versions cannot be trusted: publish them again.", err=True
        )
    if bad or dangling:
        raise click.exceptions.Exit(Exit.FAILED)


def _parsed(which: str | None) -> tuple[str | None, int | None]:
    if which is None:
        return None, None
    model, separator, version = which.partition("/")
    if separator and not (version.isascii() and version.isdigit()):
        raise click.UsageError(f"expected MODEL or MODEL/VERSION, such as cnn/3, got {which!r}")
    return model, int(version) if separator else None


def _document(verdict: "Verdict") -> dict[str, Any]:
    return {
        "model": verdict.model,
        "version": verdict.number,
        "files": verdict.files,
        "problem": verdict.problem or None,
    }


def _say(verdict: "Verdict") -> None:
    what = f"{verdict.model} version {verdict.number}"
    click.echo(f"{what}: {verdict.problem or f'all {verdict.files} files are as published'}")
