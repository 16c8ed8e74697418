"""`rockstar verify`."""

import sys
from pathlib import Path

import click

from serving import registry
from serving.model_folder import ModelFolderError


@click.command(epilog="Example: rockstar verify cnn/3")
@click.argument("which", metavar="[MODEL[/VERSION]]", required=False)
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Model folder.")
def verify(which: str | None, models: Path) -> None:
    """Compare every file of all versions, or of some, with the hashes of their manifests.

    Ends with status 1 where anything differs, or where a label points to nothing.
    """
    model, version = _parsed(which)
    try:
        verdicts = registry.verify(models, model, version, _say)
        dangling = registry.dangling_labels(models) if model is None else []
    except ModelFolderError as error:
        raise click.ClickException(str(error)) from error
    for sentence in dangling:
        click.echo(sentence)
    bad = sum(bool(verdict.problem) for verdict in verdicts)
    if bad or dangling:
        if bad:
            click.echo(f"{bad} of {len(verdicts)} versions cannot be trusted.", err=True)
        sys.exit(1)


def _parsed(which: str | None) -> tuple[str | None, int | None]:
    if which is None:
        return None, None
    model, separator, version = which.partition("/")
    if separator and not (version.isascii() and version.isdigit()):
        raise click.UsageError(f"expected MODEL or MODEL/VERSION, such as cnn/3, got {which!r}")
    return model, int(version) if separator else None


def _say(verdict: registry.Verdict) -> None:
    what = f"{verdict.model} version {verdict.number}"
    click.echo(f"{what}: {verdict.problem or f'all {verdict.files} files are as published'}")
