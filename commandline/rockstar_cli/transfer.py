"""Commands that move models in and out: import, push, pull, and export as an HTML file."""

import json
import re
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
from rockstar_contract.text_files import read_text
from rockstar_training.config import CHOICES, NAME

if TYPE_CHECKING:
    from rockstar_serving.transfer import Moved

# A line of a labels file of Teachable Machine: "0 cat".
_NUMBERED = re.compile(r"([0-9]+)[ \t]+(.+)")
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
    from rockstar_contract.version_folders import number_of
    from rockstar_serving.registry import find_version
    from rockstar_serving.standalone_page import standalone_page

    folder = find_version(models, model, version)
    number = number_of(folder)
    html.write_text(standalone_page(folder), encoding="utf-8")
    size = html.stat().st_size
    if as_json:
        echo_json({"model": model, "version": number, "file": str(html), "bytes": size})
    else:
        click.echo(
            f"{model} version {number}: {html} ({size / 1e6:.1f} MB), open it in any browser"
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


def _size(text: str) -> tuple[int, int]:
    """Parse the side of a square, or HEIGHTxWIDTH."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})(?:x([1-9][0-9]{0,3}))?", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size such as 224 or 180x240")
    return int(match[1]), int(match[2] or match[1])


def parse_names(text: str) -> tuple[str, ...]:
    """Parse comma-separated names, or read a file of names: one per line, or JSON."""
    path = Path(text)
    if not path.is_file():
        if path.suffix in (".txt", ".json", ".csv"):
            raise click.BadParameter(f"{text}: no such file")
        names = tuple(name.strip() for name in text.split(","))
        if not all(names):
            raise click.BadParameter(f"{text!r} has an empty name")
        return names
    try:
        content = read_text(path)
        if path.suffix == ".json":
            return _names_in_json(json.loads(content))
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = getattr(error, "strerror", None) or error
        wrong = f"{path}: expected names, one per line, or JSON: {reason}"
        raise click.BadParameter(wrong) from error
    lines = tuple(line.strip() for line in content.splitlines() if line.strip())
    if not lines:
        raise click.BadParameter(f"{path} is empty")
    found = [(int(match[1]), match[2]) for line in lines if (match := _NUMBERED.fullmatch(line))]
    if len(lines) > 1 and [number for number, _ in found] == [*range(len(lines))]:
        return tuple(name for _, name in found)
    return lines


def _names_in_json(document: Any) -> tuple[str, ...]:
    """Read names from a list, or from an object by number, such as id2label in a config.json."""
    if isinstance(document, dict):
        by_number = document.get("id2label", document)
        ordered = [by_number[key] for key in sorted(by_number, key=int)]
        # imagenet_class_index.json has [id, name] entries.
        document = [entry[-1] if isinstance(entry, list) else entry for entry in ordered]
    if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
        raise ValueError("not a list of names")
    return tuple(document)


@click.command("import", epilog="Example: rockstar import flowers.keras --name flowers")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, type=MODEL, help="Publish under this name.")
@click.option(
    "--labels",
    type=parse_names,
    metavar="A,B,…|FILE",
    help="Class labels in order: names, or a file of names.",
)
@click.option("--input", "kind", type=click.Choice(CHOICES["kind"]), help="What clients send.")
@click.option("--signature", help="Signature of a SavedModel.  [default: serving_default]")
@click.option("--output", help="Output that the labels belong to.  [default: the only one]")
@click.option(
    "--columns", type=parse_names, metavar="A,B,…|FILE", help="Columns of a table, in order."
)
@click.option(
    "--image-size", type=_size, metavar="N|HxW", help="Image size, if the model accepts any."
)
@click.option(
    "--pixels",
    type=click.Choice(CHOICES["pixels"]),
    help="Pixel values in training: 0…1, 0…255, or a mode of keras.applications.",
)
@click.option("--logits/--no-logits", default=None, help="Whether outputs are logits.")
@click.option("--allow-code", is_flag=True, help="Load Lambda layers, which can run any code.")
@click.option("--replace", is_flag=True, help="Publish even if labels or inputs differ.")
@models_option
@json_option
def import_(path: Path, models: Path, as_json: bool, **options: Any) -> None:
    """Publish a Keras file or a SavedModel as the next version of a name, with a contract.

    PATH is a .keras or .h5 file, or the folder of a SavedModel. The exported SavedModel, and the
    LiteRT file if LiteRT can run the model, must give the same outputs as the original on samples.
    Assumptions about what the model does not specify are printed; options override them.
    """
    if not NAME.fullmatch(options["name"]):
        raise click.UsageError(f"--name: expected letters, digits, _ . -, got {options['name']}")
    if not path.exists():
        raise click.UsageError(f"{path}: no such file or folder")
    click.echo("Loading TensorFlow …", err=True)
    from rockstar_training.importing import ImportOptions, import_model

    imported = import_model(path, models, ImportOptions(**options))
    contract = imported.contract
    if as_json:
        document = {"model": contract.model, "version": contract.version, "task": contract.task}
        document |= {"path": str(imported.folder), "labels": contract.labels}
        echo_json(document | {"notes": imported.notes})
        return
    for note in imported.notes:
        click.echo(f"Note: {note}")
    click.echo(f"{contract.model} version {contract.version}: {contract.task}")
    click.echo(f"  model     {imported.folder}")
