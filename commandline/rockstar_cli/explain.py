"""`rockstar explain`: the pixels or columns that led to a prediction."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rockstar_cli.options import Service, json_option, service_options
from rockstar_cli.output import Exit, echo_failure, echo_json, failure_of, printable

if TYPE_CHECKING:
    from rockstar_client import HttpClient
    from rockstar_client.results import Explanation, RowExplanation

# Columns printed per row; --json has all.
_MOST_COLUMNS = 3


@click.command(
    epilog="\b\nExamples:\n  rockstar explain --model cnn 7.png\n"
    "  rockstar explain --model cnn 7.png --of 1 -o why.png\n"
    "  rockstar explain --model iris rows.csv"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@service_options("Name of the model.", with_grpc=False, required=True)
@click.option("--of", metavar="LABEL", help="Explain this label.  [default: the most likely]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Save the heat map as PNG; with several FILES, into a folder.",
)
@json_option
def explain(
    files: tuple[Path, ...],
    model: str,
    service: Service,
    version: int | None,
    of: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Show which pixels of images, or which columns of CSV rows, led to a prediction.

    For an image, each part is covered in turn (occlusion); the parts that lower the score when
    covered are evidence. For a row, each column in turn is replaced by its mean in training, or its
    most frequent category.
    """
    from rockstar_client.errors import CallError
    from rockstar_contract.csv_rows import CSV_ENDINGS
    from rockstar_contract.errors import InvalidInputError

    tables = {file for file in files if file.name.lower().endswith(CSV_ENDINGS)}
    if tables and out is not None:
        raise click.UsageError(f"-o: rows have no heat map ({min(tables)})")
    pictures = _pictures(files, out)
    width = max(len(printable(str(file))) for file in files)
    documents: list[dict[str, Any]] = []
    codes: list[int] = []
    with service.http_client() as client:
        for file, picture in zip(files, pictures, strict=True):
            explained = (
                _explain_rows(client, file, model, version, of)
                if file in tables
                else _explain_image(client, file, model, version, of, picture)
            )
            try:
                for document in explained:
                    documents.append(document)
                    if not as_json:
                        _echo_row(document) if file in tables else _echo_image(document, width)
            except (CallError, InvalidInputError, OSError) as error:
                failure = failure_of(error)
                if failure.code == Exit.UNREACHABLE:
                    raise  # the others would fail, too
                message = failure.message.removeprefix(f"{file}: ")
                message = message.removeprefix("inputs[0]").lstrip(".: ")
                echo_failure(dataclasses.replace(failure, message=f"{file}: {message}"))
                codes.append(failure.code)
    if as_json and documents:
        echo_json({"model": model, "explanations": documents})
    if codes:
        raise click.exceptions.Exit(Exit.SOME_FAILED if documents else codes[0])


def _pictures(files: tuple[Path, ...], out: Path | None) -> list[Path | None]:
    """Return where to save each heat map."""
    if out is None:
        return [None] * len(files)
    if len(files) == 1 and not out.is_dir():
        return [out]
    names = [f"{file.stem}.png" for file in files]
    if len(set(names)) < len(names):
        raise click.UsageError("-o: two files have the same name; explain them one at a time")
    out.mkdir(parents=True, exist_ok=True)
    return [out / name for name in names]


def _explain_image(
    client: "HttpClient",
    file: Path,
    model: str,
    version: int | None,
    of: str | None,
    picture: Path | None,
) -> Iterator[dict[str, Any]]:
    from rockstar_client.gateway_api import explanation_picture

    image = file.read_bytes()
    found = cast("Explanation", client.explain(model, image, version=version, of=of))
    if picture is not None:
        # The same explanation, for the same version and label.
        steps = explanation_picture(model, image, found.version, found.label)
        picture.write_bytes(client.call(steps))
    yield {
        "file": str(file),
        "version": found.version,
        "label": found.label,
        "score": found.score,
        "evidence": places(found.heatmap),
        "picture": None if picture is None else str(picture),
        "method": found.method,
        "heatmap": found.heatmap,
    }


def _explain_rows(
    client: "HttpClient", file: Path, model: str, version: int | None, of: str | None
) -> Iterator[dict[str, Any]]:
    import msgspec

    from rockstar_contract.csv_rows import read_rows

    for number, row in enumerate(read_rows(file.read_bytes(), str(file)), start=1):
        found = cast("RowExplanation", client.explain(model, row, version=version, of=of))
        version = found.version  # the same for all rows of a file
        yield {
            "file": str(file),
            "row": number,
            "version": found.version,
            "label": found.label,
            "score": found.score,
            "value": found.value,
            "method": found.method,
            "columns": [msgspec.structs.asdict(column) for column in found.columns],
        }


def _echo_image(document: dict[str, Any], width: int) -> None:
    shares = [f"{place['where']} {place['share']:.0%}" for place in document["evidence"]]
    where = f"evidence: {', '.join(shares)}" if shares else "no single part led to the answer"
    saved = f"  ({printable(document['picture'])})" if document["picture"] else ""
    file, label = printable(document["file"]), click.style(printable(document["label"]), bold=True)
    click.echo(f"{file:{width}}  {label} {document['score']:.4f}  {where}{saved}")


def _echo_row(document: dict[str, Any]) -> None:
    if document["label"] is None:
        answer = click.style(f"{document['value']:.6g}", bold=True)
    else:
        answer = f"{click.style(printable(document['label']), bold=True)} {document['score']:.4f}"
    strongest = [column for column in document["columns"] if column["effect"]][:_MOST_COLUMNS]
    effects = []
    for column in strongest:
        value = column["value"]
        shown = "missing" if value is None or value == "" else printable(str(value))
        effects.append(f"{printable(column['name'])} {shown} ({column['effect']:+.3g})")
    why = ", ".join(effects) if effects else "no single column led to the answer"
    click.echo(f"{printable(document['file'])}:{document['row']}  {answer}  {why}")


# Cells of a 3 × 3 grid, row by row.
_PLACES = (
    *("top left", "top", "top right"),
    *("left", "center", "right"),
    *("bottom left", "bottom", "bottom right"),
)
# List cells until they hold this share of the evidence, at most so many.
_ENOUGH, _MOST = 0.5, 3


def places(heatmap: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Find the parts with at least half of the evidence, strongest first, with their shares.

    The heat map has the evidence of each pixel, row by row; negative values do not count.
    """
    sums = [0.0] * len(_PLACES)
    height, width = len(heatmap), len(heatmap[0])
    for row, values in enumerate(heatmap):
        for column, value in enumerate(values):
            sums[3 * (3 * row // height) + 3 * column // width] += max(0.0, value)
    total = sum(sums)
    if total <= 0:
        return []
    ranked = sorted(zip(_PLACES, sums, strict=True), key=lambda place: -place[1])
    found: list[dict[str, Any]] = []
    for where, mass in ranked[:_MOST]:
        found.append({"where": where, "share": mass / total})
        if sum(place["share"] for place in found) >= _ENOUGH:
            break
    return found
