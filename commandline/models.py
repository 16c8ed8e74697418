"""`rockstar models`."""

import json
from pathlib import Path
from typing import Any

import click

from serving.model_folder import ModelFolderError
from serving.registry import Version, dangling_labels, list_versions

# Columns of numbers, which end and do not start in line.
_RIGHT = {"VERSION", "SIZE"}


@click.command(epilog="Example: rockstar models cnn")
@click.argument("model", required=False)
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Model folder.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def models(model: str | None, models: Path, as_json: bool) -> None:
    """List the versions of all models, or of one MODEL, with labels, size and held-out metrics."""
    try:
        versions = list_versions(models, model)
        warnings = dangling_labels(models)
    except ModelFolderError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps([_document(version) for version in versions], indent=2))
    else:
        click.echo("\n".join(_table([_row(version) for version in versions])))
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def _document(version: Version) -> dict[str, Any]:
    contract = version.contract
    return {
        "model": version.model,
        "version": version.number,
        "labels": list(version.labels),
        "bytes": version.bytes,
        "path": str(version.folder),
        "task": contract and contract.task,
        "data_set": contract and contract.data_set.name,
        "metrics": contract and contract.metrics,
        "created": contract and contract.created.isoformat(),
        "problem": version.problem or None,
    }


def _row(version: Version) -> dict[str, str]:
    contract = version.contract
    return {
        "MODEL": version.model,
        "VERSION": str(version.number),
        "LABELS": ", ".join(version.labels) or "-",
        "SIZE": f"{version.bytes / 1024:,.0f} KiB",
        "CREATED": f"{contract.created:%Y-%m-%d %H:%M}" if contract else "-",
        "METRICS": _metrics(contract.metrics) if contract else version.problem,
    }


def _metrics(metrics: dict[str, float]) -> str:
    """Those of held-out examples, which are what versions are compared by; --json has all."""
    held_out = {name: value for name, value in metrics.items() if not name.startswith("train_")}
    return "  ".join(f"{name} {value:.4f}" for name, value in held_out.items())


def _table(rows: list[dict[str, str]]) -> list[str]:
    lines = [dict(zip(rows[0], rows[0], strict=True)), *rows]
    widths = {name: max(len(line[name]) for line in lines) for name in rows[0]}
    return [
        "  ".join(
            text.rjust(widths[name]) if name in _RIGHT else text.ljust(widths[name])
            for name, text in line.items()
        ).rstrip()
        for line in lines
    ]
