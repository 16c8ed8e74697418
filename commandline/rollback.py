"""`rockstar rollback`."""

from pathlib import Path

import click

from commandline.names import ModelName
from commandline.options import json_option, label_option, models_option
from commandline.output import echo_json


@click.command(epilog="Example: rockstar rollback cnn")
@click.argument("model", type=ModelName())
@label_option
@models_option
@json_option
def rollback(model: str, label: str, models: Path, as_json: bool) -> None:
    """Give a label of MODEL back to the version that had it before; again for the one before that.

    Versions that were removed meanwhile are passed over.
    """
    from serving import promotion
    from serving.models_config import CONFIG_FILE

    before, now = promotion.rollback(models, model, label)
    file = models / CONFIG_FILE
    if as_json:
        moved = {"model": model, "label": label, "version": now, "before": before}
        echo_json({**moved, "file": str(file)})
        return
    click.echo(f"{model} {label} is version {now} again, not {before} ({file})")
