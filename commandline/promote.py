"""`rockstar promote`."""

from pathlib import Path

import click

from serving import promotion
from serving.model_folder import ModelFolderError
from serving.models_config import CONFIG_FILE


@click.command(epilog="Example: rockstar promote cnn 3 --label stable")
@click.argument("model")
@click.argument("version", type=click.IntRange(0))
@click.option("--label", default="stable", help="Usually stable or canary.")
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Model folder.")
@click.option(
    "--base-path", metavar="PATH", help="Where TensorFlow Serving sees the folder; remembered."
)
def promote(model: str, version: int, label: str, models: Path, base_path: str | None) -> None:
    """Give VERSION of MODEL a label, in the models.config that TensorFlow Serving reads.

    `rockstar serve` takes it up when it starts, TensorFlow Serving when it reads the file again
    (--model_config_file_poll_wait_seconds); for a new label on a version that is not loaded yet it
    needs --allow_version_labels_for_unavailable_models.
    """
    try:
        before = promotion.promote(models, model, version, label, base_path)
    except ModelFolderError as error:
        raise click.ClickException(str(error)) from error
    was = {None: "", version: ", as before"}.get(before, f", before that version {before}")
    click.echo(f"{model} {label} is version {version}{was} ({models / CONFIG_FILE})")
