"""`rockstar rollback`."""

from pathlib import Path

import click

from serving import promotion
from serving.model_folder import ModelFolderError
from serving.models_config import CONFIG_FILE


@click.command(epilog="Example: rockstar rollback cnn")
@click.argument("model")
@click.option("--label", default="stable", help="Usually stable or canary.")
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Model folder.")
def rollback(model: str, label: str, models: Path) -> None:
    """Give a label of MODEL back to the version that had it before; again for the one before that.

    Versions that were removed meanwhile are passed over.
    """
    try:
        before, now = promotion.rollback(models, model, label)
    except ModelFolderError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{model} {label} is version {now} again, not {before} ({models / CONFIG_FILE})")
