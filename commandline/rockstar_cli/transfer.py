"""Commands that copy versions elsewhere: push, pull, and export as an HTML file."""

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
from rockstar_cli.output import echo_json

if TYPE_CHECKING:
    from rockstar_serving.transfer import Moved

_label_option = click.option(
    "--label", type=LABEL, help="Move this label to the version, where it arrives."
)


@click.command(
    epilog="\b\nExamples:\n"
    "  rockstar push cnn/3 s3://bucket/models --label stable\n"
    "  rockstar push cnn oci://registry.example.org/models/cnn\n"
    "  rockstar push cnn /mnt/models --base-path /models"
)
@click.argument("which", metavar="MODEL[/VERSION]", type=MODEL_AND_VERSION)
@click.argument("destination", metavar="DEST")
@_label_option
@models_option
@click.option(
    "--base-path",
    metavar="PATH",
    help="With --label: the path of DEST as servers see it; kept for later.",
)
@json_option
def push(
    which: str,
    destination: str,
    label: str | None,
    models: Path,
    base_path: str | None,
    as_json: bool,
) -> None:
    """Copy a version of MODEL, by default the newest, to DEST.

    DEST is a folder of models, the URL of one in an object store (s3://, gs://, az://), or an image
    in a registry (oci://REGISTRY/NAME, by default with the version as its tag).

    The version appears at once when all of it is there, and its hashes are checked on both sides. A
    version that is there is left alone; another one with its number is an error. After an
    interruption, run the command again.
    """
    from rockstar_serving import transfer

    model, version = split_version(which)
    moved = transfer.push(models, model, version, destination, label=label, base_path=base_path)
    if as_json:
        echo_json(_document(moved, label))
    else:
        _echo(moved, label)


@click.command(
    epilog="\b\nExamples:\n"
    "  rockstar pull s3://bucket/models/cnn/3\n"
    "  rockstar pull s3://bucket/models/cnn/stable --models served\n"
    "  rockstar pull oci://registry.example.org/models/cnn:3"
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, envvar="ROCKSTAR_PULL")
@_label_option
@models_option
@json_option
def pull(sources: tuple[str, ...], label: str | None, models: Path, as_json: bool) -> None:
    """Copy the version at each SOURCE into the model folder.

    SOURCE is FOLDER/MODEL, for the newest version, FOLDER/MODEL/VERSION or FOLDER/MODEL/LABEL,
    where FOLDER can be a URL (s3://, gs://, az://); or an image, oci://REGISTRY/NAME:TAG. Without
    arguments, ROCKSTAR_PULL lists them.
    """
    from rockstar_serving import transfer

    documents = []
    for source in sources:
        moved = transfer.pull(source, models, label=label)
        documents.append(_document(moved, label))
        if not as_json:
            _echo(moved, label)
    if as_json:
        echo_json({"versions": documents})


@click.command(epilog="Example: rockstar export cnn --html demo.html")
@click.argument("model", type=MODEL)
@click.option(
    "--html",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file to write; an existing one is replaced.",
)
@click.option("--version", type=VersionNumber(1), help="Version.  [default: the newest served]")
@models_option
@json_option
def export(model: str, html: Path, version: int | None, models: Path, as_json: bool) -> None:
    """Write MODEL, a classifier of images, as one HTML file to open or to send.

    The page contains the model, LiteRT for browsers, and a drawing area. It opens with a double
    click, works offline, and sends nothing.
    """
    from rockstar_serving.registry import RegistryError, list_versions
    from rockstar_serving.standalone_page import standalone_page

    versions = list_versions(models, model)
    found = [
        each
        for each in versions
        if (each.number == version if version is not None else not each.held)
    ]
    if not found:
        has = ", ".join(
            f"{each.number} (held)" if each.held else str(each.number) for each in versions
        )
        wanted = "served version" if version is None else f"version {version}"
        raise RegistryError(f"{model} has no {wanted}; it has the versions {has}")
    chosen = found[-1]
    html.write_text(standalone_page(chosen.folder), encoding="utf-8")
    size = html.stat().st_size
    if as_json:
        echo_json({"model": model, "version": chosen.number, "file": str(html), "bytes": size})
    else:
        click.echo(
            f"{model} version {chosen.number}: {html} ({size / 1e6:.1f} MB), open it in any browser"
        )


def _document(moved: "Moved", label: str | None) -> dict[str, Any]:
    return {
        "model": moved.model,
        "version": moved.version,
        "place": moved.place,
        "new": moved.new,
        "label": label,
        "files": len(moved.manifest.files),
        "bytes": sum(entry.bytes for entry in moved.manifest.files.values()),
    }


def _echo(moved: "Moved", label: str | None) -> None:
    document = _document(moved, label)
    found = "is now at" if moved.new else "was already at"
    labelled = f", with the label {label}" if label else ""
    click.echo(
        f"{moved.model} version {moved.version} {found} {moved.place}{labelled} "
        f"({document['files']} files, {document['bytes'] / 1024:,.0f} KiB)"
    )
