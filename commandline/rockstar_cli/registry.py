"""Commands that manage published versions: models, promote, rollback, unpublish, prune, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rockstar_cli.options import (
    LABEL,
    MODEL,
    MODEL_AND_VERSION,
    VersionNumber,
    json_option,
    models_option,
    split_version,
)
from rockstar_cli.output import Exit, echo_json, table

if TYPE_CHECKING:
    from rockstar_serving.registry import Version

_COLUMNS = ("MODEL", "VERSION", "LABELS", "SIZE", "CREATED", "METRICS")
# Columns of numbers, aligned right.
_RIGHT = {1, 3}
# Held-out metrics in the table; --json prints all metrics.
_METRICS = ("test_accuracy", "test_f1", "test_r2", "test_rmse", "test_loss")


@click.command(epilog="Example: rockstar models cnn")
@click.argument("model", type=MODEL, required=False)
@models_option
@json_option
def models(model: str | None, models: Path, as_json: bool) -> None:
    """List the versions of all models, or of one MODEL, with labels, size and held-out metrics."""
    from rockstar_serving.registry import dangling_labels, list_versions

    versions = list_versions(models, model)
    warnings = dangling_labels(models)
    if as_json:
        echo_json({"versions": [*map(_version_document, versions)], "warnings": warnings})
        return
    click.echo(table([_COLUMNS, *map(_row, versions)], right=_RIGHT))
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def _version_document(version: "Version") -> dict[str, Any]:
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
    created, metrics = "-", version.problem
    if contract is not None:
        created = f"{contract.created:%Y-%m-%d %H:%M}"
        metrics = "  ".join(
            f"{name} {value:.4f}" if abs(value) < 1000 else f"{name} {value:,.0f}"
            for name, value in contract.metrics.items()
            if name in _METRICS or name.startswith("quantized_")
        )
    number = f"{version.number} (held)" if version.held else str(version.number)
    labels = ", ".join(version.labels) or "-"
    return version.model, number, labels, f"{version.bytes / 1024:,.0f} KiB", created, metrics


@click.command(epilog="Example: rockstar promote cnn 3 --label stable")
@click.argument("model", type=MODEL)
@click.argument("version", type=VersionNumber(0))
@click.option("--label", default="stable", type=LABEL, help="Usually stable or canary.")
@models_option
@click.option(
    "--base-path",
    metavar="PATH",
    help="The folder's path as TensorFlow Serving sees it; kept for later.",
)
@json_option
def promote(
    model: str, version: int, label: str, models: Path, base_path: str | None, as_json: bool
) -> None:
    """Give VERSION of MODEL a label, in the models.config that TensorFlow Serving reads.

    A held version (published but not served) is served from now on. `rockstar serve` applies labels
    within seconds; TensorFlow Serving applies them when it rereads the file
    (--model_config_file_poll_wait_seconds). To label a version that is not loaded yet, TensorFlow
    Serving needs --allow_version_labels_for_unavailable_models.
    """
    from rockstar_serving import registry

    before = registry.promote(models, model, version, label, base_path)
    was = {None: "", version: ", as before"}.get(before, f", before that version {before}")
    moved = {"model": model, "label": label, "version": version, "before": before}
    _echo_moved(moved, f"{model} {label} is version {version}{was}", models, as_json)


@click.command(epilog="Example: rockstar rollback cnn")
@click.argument("model", type=MODEL)
@click.option(
    "--label", type=LABEL, help="Move only this label.  [default: the version that is served]"
)
@models_option
@json_option
def rollback(model: str, label: str | None, models: Path, as_json: bool) -> None:
    """Serve the previous version of MODEL; run it again to go back further.

    Newer versions are held: renamed to, for example, held-3, which no server loads, whatever its
    version policy. Their labels move to the version that is served. rockstar promote serves a held
    version again.

    With --label, only that label moves back to its previous version. Removed versions are skipped.
    """
    from rockstar_serving import registry

    if label is not None:
        before, now = registry.rollback(models, model, label)
        moved = {"model": model, "label": label, "version": now, "before": before}
        text = f"{model} {label} is version {now} again, not {before}"
        _echo_moved(moved, text, models, as_json)
        if not as_json:
            newest = max(v.number for v in registry.list_versions(models, model) if not v.held)
            if newest != now:
                click.echo(f"Requests that name no label still get version {newest}.")
        return
    done = registry.restore(models, model)
    if as_json:
        moved = {"model": model, "version": done.now, "before": done.before}
        echo_json({**moved, "held": done.held, "labels": done.labels})
        return
    labels = f", and {registry.sorted_names(done.labels)} with it" if done.labels else ""
    click.echo(
        f"{model} serves version {done.now} again{labels}; held: "
        f"{registry.sorted_names(done.held)} "
        f"(rockstar promote {model} {done.before} serves it again)"
    )


def _echo_moved(moved: dict[str, Any], text: str, models: Path, as_json: bool) -> None:
    """Print which version has a label now, and the file that holds the labels."""
    from rockstar_serving.model_folder import CONFIG_FILE

    file = models / CONFIG_FILE
    if as_json:
        echo_json({**moved, "file": str(file)})
    else:
        click.echo(f"{text} ({file})")


@click.command(epilog="Example: rockstar unpublish cnn 3")
@click.argument("model", type=MODEL)
@click.argument("version", type=VersionNumber(0))
@models_option
@json_option
def unpublish(model: str, version: int, models: Path, as_json: bool) -> None:
    """Remove VERSION of MODEL; running servers switch to the newest remaining version.

    Deletes the files. The version number is not reused. To keep the files, use rockstar rollback.
    """
    from rockstar_serving import registry

    left = registry.unpublish(models, model, version)
    if as_json:
        echo_json({"model": model, "version": version, "served": left})
        return
    click.echo(f"{model} version {version} is removed")
    if not left:
        click.echo(f"That was the last served version: model {model} is no longer available.")


@click.command(epilog="Example: rockstar prune cnn --keep 3")
@click.argument("model", type=MODEL)
@click.option(
    "--keep", required=True, type=click.IntRange(1), help="Number of newest versions to keep."
)
@models_option
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@json_option
def prune(model: str, keep: int, models: Path, dry_run: bool, as_json: bool) -> None:
    """Remove old versions of MODEL, except the newest ones and those with a label."""
    from rockstar_serving import registry

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


@click.command(epilog="Example: rockstar verify cnn/3")
@click.argument("which", metavar="[MODEL[/VERSION]]", type=MODEL_AND_VERSION, required=False)
@models_option
@json_option
def verify(which: str | None, models: Path, as_json: bool) -> None:
    """Compare the files of all versions, or of some, with the hashes in their manifests.

    Exits with status 1 if any file differs or a label points to a missing version.
    """
    from rockstar_serving import registry

    model, version = split_version(which or "")
    verdicts = []
    for verdict in registry.verify(models, model or None, version):
        verdicts.append(verdict)
        if not as_json:
            result = verdict.problem or f"all {verdict.files} files are as published"
            click.echo(f"{verdict.model} version {verdict.number}: {result}")
    dangling = [] if model else registry.dangling_labels(models)
    bad = sum(bool(verdict.problem) for verdict in verdicts)
    if as_json:
        versions = [
            {"model": v.model, "version": v.number, "files": v.files, "problem": v.problem or None}
            for v in verdicts
        ]
        echo_json({"ok": not (bad or dangling), "versions": versions, "dangling_labels": dangling})
    for sentence in [] if as_json else dangling:
        click.echo(sentence)
    if bad:
        click.echo(
            f"{bad} of {len(verdicts)} versions do not match their manifests: publish them again.",
            err=True,
        )
    if bad or dangling:
        raise click.exceptions.Exit(Exit.FAILED)
