"""`rockstar explain`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from commandline.evidence import places
from commandline.exits import Exit
from commandline.failures import failure_of
from commandline.options import Service, gateway_options, json_option, model_option
from commandline.output import echo_failure, echo_json, printable

if TYPE_CHECKING:
    from clients.explanation import Explanation
    from clients.http import HttpClient

# Columns that are named on screen; --json has all.
_MOST_COLUMNS = 3


@click.command(
    epilog="Examples: rockstar explain --model cnn 7.png; "
    "rockstar explain --model cnn 7.png --of 1 -o why.png; "
    "rockstar explain --model iris rows.csv"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option("Name of the model.", required=True)
@gateway_options
@click.option("--version", type=click.IntRange(1), help="Version; else the newest.")
@click.option("--of", metavar="LABEL", help="What spoke for this label; else for the likeliest.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Save the picture here, as PNG; with several FILES a folder.",
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
    """Ask a running service which pixels of images, FILES, or columns of rows made the answer.

    Parts of an image are covered one after the other: what lets the score fall spoke for it. Of
    each row of a CSV file one column after the other is replaced by its mean in training, or its
    most frequent category.
    """
    from clients.errors import CallError
    from clients.http import HttpClient
    from clients.retry import NEVER_AGAIN
    from serving.csv_rows import CSV_ENDINGS
    from serving.errors import InvalidInputError

    tables = [file for file in files if file.name.lower().endswith(CSV_ENDINGS)]
    if tables and out is not None:
        raise click.UsageError(f"-o: there is no picture of rows ({tables[0]})")
    pictures = _pictures(files, out)
    documents: list[dict[str, Any]] = []
    codes: list[int] = []
    url, key, tls = service.url, service.api_key, service.tls
    with HttpClient(url, api_key=key, tls=tls, retry=NEVER_AGAIN) as client:
        for file, picture in zip(files, pictures, strict=True):
            try:
                if file in tables:
                    for document in _rows(client, file, model, version, of):
                        documents.append(document)
                        if not as_json:
                            _say_row(document)
                    continue
                explained = _ask(client, file, picture, model, version, of)
            except (CallError, InvalidInputError, OSError) as error:
                codes.append(_tell(error, file))
                continue
            documents.append(_document(file, picture, explained))
            if not as_json:
                _say(documents[-1], max(len(printable(str(file))) for file in files))
    if as_json and documents:
        echo_json({"model": model, "explanations": documents})
    if codes:
        raise click.exceptions.Exit(Exit.SOME_FAILED if documents else codes[0])


def _pictures(files: tuple[Path, ...], out: Path | None) -> list[Path | None]:
    """Where each picture is saved."""
    if out is None:
        return [None] * len(files)
    if len(files) == 1 and not out.is_dir():
        return [out]
    names = [f"{file.stem}.png" for file in files]
    if len(set(names)) < len(names):
        raise click.UsageError("-o: two of the files have the same name; explain them one by one")
    out.mkdir(parents=True, exist_ok=True)
    return [out / name for name in names]


def _ask(
    client: "HttpClient",
    file: Path,
    picture: Path | None,
    model: str,
    version: int | None,
    of: str | None,
) -> "Explanation":
    from clients.explanation import explanation, explanation_picture

    image = file.read_bytes()
    explained = client.call(explanation(model, image, version, of))
    if picture is not None:
        # The same question again, for the same version and label.
        same = explanation_picture(model, image, explained.version, explained.label)
        picture.write_bytes(client.call(same))
    return explained


def _rows(
    client: "HttpClient", file: Path, model: str, version: int | None, of: str | None
) -> Iterator[dict[str, Any]]:
    """An explanation for each row of a CSV file."""
    from clients.explanation import row_explanation
    from serving.csv_rows import read_rows

    for number, row in enumerate(read_rows(file.read_bytes(), str(file)), start=1):
        explained = client.call(row_explanation(model, row, version, of))
        version = explained.version
        yield {
            "file": str(file),
            "row": number,
            "version": explained.version,
            "label": explained.label,
            "score": explained.score,
            "value": explained.value,
            "method": explained.method,
            "columns": [msgspec.structs.asdict(column) for column in explained.columns],
        }


def _tell(error: Exception, file: Path) -> int:
    """Say why an image has no explanation, and go on: the others may have one.

    Raises:
        Exception: the service is away, for all of them.
    """
    failure = failure_of(error)
    if failure.code == Exit.UNREACHABLE:
        raise error
    message = failure.message.removeprefix(f"{file}: ")
    echo_failure(dataclasses.replace(failure, message=f"{file}: {message}"))
    return failure.code


def _document(file: Path, picture: Path | None, explained: "Explanation") -> dict[str, Any]:
    return {
        "file": str(file),
        "version": explained.version,
        "label": explained.label,
        "score": explained.score,
        "evidence": [dataclasses.asdict(place) for place in places(explained.heatmap)],
        "picture": None if picture is None else str(picture),
        "method": explained.method,
        "heatmap": explained.heatmap,
    }


def _say(document: dict[str, Any], width: int) -> None:
    shares = [f"{place['where']} {place['share']:.0%}" for place in document["evidence"]]
    where = f"evidence: {', '.join(shares)}" if shares else "no part of it alone made the answer"
    saved = f"  ({printable(document['picture'])})" if document["picture"] else ""
    file, label = printable(document["file"]), click.style(printable(document["label"]), bold=True)
    click.echo(f"{file:{width}}  {label} {document['score']:.4f}  {where}{saved}")


def _say_row(document: dict[str, Any]) -> None:
    if document["label"] is None:
        answer = click.style(f"{document['value']:.6g}", bold=True)
    else:
        answer = f"{click.style(printable(document['label']), bold=True)} {document['score']:.4f}"
    strongest = [column for column in document["columns"] if column["effect"]][:_MOST_COLUMNS]
    told = []
    for column in strongest:
        value = column["value"]
        shown = "missing" if value is None or value == "" else printable(str(value))
        told.append(f"{printable(column['name'])} {shown} ({column['effect']:+.3g})")
    why = ", ".join(told) if told else "no column alone made the answer"
    click.echo(f"{printable(document['file'])}:{document['row']}  {answer}  {why}")
