"""`rockstar rollback`."""

from pathlib import Path

import click

from commandline.names import Label, ModelName
from commandline.options import json_option, models_option
from commandline.output import echo_json


@click.command(epilog="Example: rockstar rollback cnn")
@click.argument("model", type=ModelName())
@click.option("--label", type=Label(), help="Move only this label.  [default: what is served]")
@models_option
@json_option
def rollback(model: str, label: str | None, models: Path, as_json: bool) -> None:
    """Serve the version of MODEL that was served before; again for the one before that.

    The newer versions are held: kept under a name such as held-3, which no server loads, whatever
    its version policy. Labels on them go along. rockstar promote has a held version served again.

    With --label only that label goes back to the version that had it before. Versions that were
    removed meanwhile are passed over.
    """
    from serving import promotion
    from serving.models_config import CONFIG_FILE
    from serving.registry import list_versions, listed

    if label is None:
        done = promotion.restore(models, model)
        if as_json:
            moved = {"model": model, "version": done.now, "before": done.before}
            echo_json({**moved, "held": done.held, "labels": done.labels})
            return
        labels = f", and {listed(done.labels)} with it" if done.labels else ""
        click.echo(
            f"{model} serves version {done.now} again{labels}; held: {listed(done.held)} "
            f"(rockstar promote {model} {done.before} has it served again)"
        )
        return
    before, now = promotion.rollback(models, model, label)
    file = models / CONFIG_FILE
    if as_json:
        moved = {"model": model, "label": label, "version": now, "before": before}
        echo_json({**moved, "file": str(file)})
        return
    click.echo(f"{model} {label} is version {now} again, not {before} ({file})")
    newest = max(v.number for v in list_versions(models, model) if not v.held)
    if newest != now:
        click.echo(f"Requests that name no label still get version {newest}.")
