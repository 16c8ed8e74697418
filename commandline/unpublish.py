"""`rockstar unpublish`."""

from pathlib import Path

import click

from commandline.names import ModelName, VersionNumber
from commandline.options import json_option, models_option
from commandline.output import echo_json


@click.command(epilog="Example: rockstar unpublish cnn 3")
@click.argument("model", type=ModelName())
@click.argument("version", type=VersionNumber(0))
@models_option
@json_option
def unpublish(model: str, version: int, models: Path, as_json: bool) -> None:
    """Remove VERSION of MODEL; running servers go on with the newest one that is left.

    Its files are removed, and its number does not come again. To keep them, see rockstar rollback.
    """
    from serving import registry

    left = registry.unpublish(models, model, version)
    if as_json:
        echo_json({"model": model, "version": version, "served": left})
        return
    click.echo(f"{model} version {version} is removed")
    if not left:
        click.echo(f"It was the last one that was served: there is no model {model} any more.")
