"""`rockstar import`."""

import json
import re
from pathlib import Path
from typing import Any

import click

from rockstar_cli.options import ModelName, json_option, models_option
from rockstar_cli.output import echo_json, echo_step
from rockstar_contract.text_files import read_text

_KINDS = ("image", "table", "tensor")
_PIXELS = ("0-1", "0-255", "tf", "torch", "caffe")
# A line of a labels file of Teachable Machine: "0 cat".
_NUMBERED = re.compile(r"([0-9]+)[ \t]+(.+)")


class Names(click.ParamType[tuple[str, ...]]):
    """Comma-separated names, or a file of names."""

    name = "a,b,…|file"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Parse the names."""
        if isinstance(value, tuple):
            return value
        path = Path(value)
        if path.is_file():
            return self._of_file(path, param, ctx)
        if path.suffix in (".txt", ".json", ".csv"):
            self.fail(f"{value}: no such file", param, ctx)
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            self.fail(f"{value!r} has an empty name", param, ctx)
        return names

    def _of_file(
        self, path: Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        try:
            text = read_text(path)
            if path.suffix == ".json":
                return _of_json(json.loads(text))
        except (OSError, ValueError, TypeError, KeyError) as error:
            self.fail(f"{path}: expected names, one per line, or JSON: {error}", param, ctx)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            self.fail(f"{path} is empty", param, ctx)
        numbered = [_NUMBERED.fullmatch(line) for line in lines]
        found = [(int(match[1]), match[2]) for match in numbered if match]
        if len(lines) > 1 and [number for number, _ in found] == [*range(len(lines))]:
            return tuple(name for _, name in found)
        return tuple(lines)


class Size(click.ParamType[tuple[int, int]]):
    """Side of a square, or HEIGHTxWIDTH."""

    name = "n|hxw"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse height and width."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,3})(?:x([1-9][0-9]{0,3}))?", value)
        if match is None:
            self.fail(f"{value!r} is not a size such as 224 or 180x240", param, ctx)
        return int(match[1]), int(match[2] or match[1])


@click.command("import", epilog="Example: rockstar import flowers.keras --name flowers")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, type=ModelName(), help="Publish under this name.")
@click.option("--labels", type=Names(), help="Class labels in order: names, or a file of names.")
@click.option("--input", "kind", type=click.Choice(_KINDS), help="What clients send.")
@click.option("--signature", help="Signature of a SavedModel.  [default: serving_default]")
@click.option("--output", help="Output that the labels belong to.  [default: the only one]")
@click.option("--columns", type=Names(), help="Columns of a table, in order.")
@click.option("--image-size", type=Size(), help="Image size, if the model accepts any.")
@click.option(
    "--pixels",
    type=click.Choice(_PIXELS),
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
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", options["name"]):
        raise click.UsageError(f"--name: expected letters, digits, _ . -, got {options['name']}")
    if not path.exists():
        raise click.UsageError(f"{path}: no such file or folder")
    echo_step("Loading TensorFlow …")
    from rockstar_training.importing import ImportOptions, import_model

    imported = import_model(path, models, ImportOptions(**options))
    contract = imported.contract
    if as_json:
        echo_json(
            {
                "model": contract.model,
                "version": contract.version,
                "task": contract.task,
                "path": str(imported.folder),
                "labels": contract.labels,
                "notes": imported.notes,
            }
        )
        return
    for note in imported.notes:
        click.echo(f"Note: {note}")
    click.echo(f"{contract.model} version {contract.version}: {contract.task}")
    click.echo(f"  model     {imported.folder}")


def _of_json(document: Any) -> tuple[str, ...]:
    """Names from a list, or from an object by number, such as id2label in a config.json."""
    if isinstance(document, dict):
        by_number = document.get("id2label", document)
        ordered = [by_number[key] for key in sorted(by_number, key=int)]
        # imagenet_class_index.json has [id, name] entries.
        document = [entry[-1] if isinstance(entry, list) else entry for entry in ordered]
    if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
        raise ValueError("not a list of names")
    return tuple(document)
