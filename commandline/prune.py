"""`rockstar prune`."""

from pathlib import Path

import click

from commandline.names import ModelName
from commandline.options import json_option, models_option
from commandline.output import echo_json


@click.command(epilog="Example: rockstar prune cnn --keep 3")
@click.argument("model", type=ModelName())
@click.option("--keep", required=True, type=click.IntRange(1), help="How many of the newest stay.")
@models_option
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
def prune(model: str, keep: int, models: Path, dry_run: bool, as_json: bool) -> None:
    """Remove the versions of MODEL that are neither among the newest nor have a label."""
    from serving import registry

    versions = registry.prune(models, model, keep, dry_run=dry_run)
    if as_json:
        removed = [{"version": each.number, "bytes": each.bytes} for each in versions]
        echo_json({"model": model, "dry_run": dry_run, "removed": removed})
        return
    verb = "would be removed" if dry_run else "removed"
    for version in versions:
        click.echo(f"{model} version {version.number} {verb} ({version.bytes / 1024:,.0f} KiB)")
    if not versions:
        click.echo(f"Nothing to remove: {model} has no old version without a label.")
