"""`rockstar prune`."""

from pathlib import Path

import click

from serving import registry
from serving.model_folder import ModelFolderError


@click.command(epilog="Example: rockstar prune cnn --keep 3")
@click.argument("model")
@click.option("--keep", required=True, type=click.IntRange(1), help="How many of the newest stay.")
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Model folder.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(model: str, keep: int, models: Path, dry_run: bool) -> None:
    """Remove the versions of MODEL that are neither among the newest nor have a label."""
    try:
        versions = registry.prune(models, model, keep, dry_run=dry_run)
    except ModelFolderError as error:
        raise click.ClickException(str(error)) from error
    verb = "would be removed" if dry_run else "removed"
    for version in versions:
        click.echo(f"{model} version {version.number} {verb} ({version.bytes / 1024:,.0f} KiB)")
    if not versions:
        click.echo(f"Nothing to remove: {model} has no old version without a label.")
