"""`rockstar models`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commandline.names import ModelName
from commandline.options import json_option, models_option
from commandline.output import echo_json
from commandline.table import table

if TYPE_CHECKING:
    from serving.registry import Version

_HEAD = ("MODEL", "VERSION", "LABELS", "SIZE", "CREATED", "METRICS")
# Columns of numbers.
_RIGHT = {1, 3}


@click.command(epilog="Example: rockstar models cnn")
@click.argument("model", type=ModelName(), required=False)
@models_option
@json_option
def models(model: str | None, models: Path, as_json: bool) -> None:
    """List the versions of all models, or of one MODEL, with labels, size and held-out metrics."""
    from serving.registry import dangling_labels, list_versions

    versions = list_versions(models, model)
    warnings = dangling_labels(models)
    if as_json:
        echo_json({"versions": [*map(_document, versions)], "warnings": warnings})
        return
    click.echo(table([_HEAD, *map(_row, versions)], right=_RIGHT))
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def _document(version: "Version") -> dict[str, Any]:
    contract = version.contract
    return {
        "model": version.model,
        "version": version.number,
        "held": version.held,
        "labels": version.labels,
        "bytes": version.bytes,
        "path": str(version.folder),
        "task": contract and contract.task,
        "data_set": contract and contract.data_set and contract.data_set.name,
        "metrics": contract and contract.metrics,
        "created": contract and contract.created.isoformat(),
        "problem": version.problem or None,
    }


def _row(version: "Version") -> tuple[str, ...]:
    contract = version.contract
    return (
        version.model,
        f"{version.number} (held)" if version.held else str(version.number),
        ", ".join(version.labels) or "-",
        f"{version.bytes / 1024:,.0f} KiB",
        f"{contract.created:%Y-%m-%d %H:%M}" if contract else "-",
        _metrics(contract.metrics) if contract else version.problem,
    )


def _metrics(metrics: dict[str, float]) -> str:
    """Those that versions are compared by; --json has all."""
    shown = ("test_accuracy", "test_f1", "test_r2", "test_rmse", "test_loss")
    held_out = {
        name: value
        for name, value in metrics.items()
        if name in shown or name.startswith("quantized_")
    }
    return "  ".join(f"{name} {value:.4f}" for name, value in held_out.items())
