"""Commands that move versions between machines: push and pull."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rockstar_cli.options import (
    LABEL,
    MODEL_AND_VERSION,
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
