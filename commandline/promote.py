"""`rockstar promote`."""

from pathlib import Path

import click

from commandline.names import ModelName, VersionNumber
from commandline.options import json_option, label_option, models_option
from commandline.output import echo_json


@click.command(epilog="Example: rockstar promote cnn 3 --label stable")
@click.argument("model", type=ModelName())
@click.argument("version", type=VersionNumber(0))
@label_option
@models_option
@click.option(
    "--base-path", metavar="PATH", help="Where TensorFlow Serving sees the folder; remembered."
)
@json_option
def promote(
    model: str, version: int, label: str, models: Path, base_path: str | None, as_json: bool
) -> None:
    """Give VERSION of MODEL a label, in the models.config that TensorFlow Serving reads.

    A version that is held (published but not served) is served from now on. `rockstar serve` takes
    labels up within seconds, TensorFlow Serving when it reads the file again
    (--model_config_file_poll_wait_seconds); for a new label on a version that is not loaded yet it
    needs --allow_version_labels_for_unavailable_models.
    """
    from serving import promotion
    from serving.models_config import CONFIG_FILE

    before = promotion.promote(models, model, version, label, base_path)
    file = models / CONFIG_FILE
    if as_json:
        moved = {"model": model, "label": label, "version": version, "before": before}
        echo_json({**moved, "file": str(file)})
        return
    was = {None: "", version: ", as before"}.get(before, f", before that version {before}")
    click.echo(f"{model} {label} is version {version}{was} ({file})")
