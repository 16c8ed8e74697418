"""`rockstar predict`."""

import re
from pathlib import Path

import click
import msgspec

from clients.answer import Answer, Prediction
from clients.errors import CallError
from clients.examples import Example, read_examples
from clients.grpc import GrpcClient
from clients.http import HttpClient
from serving.errors import InvalidInputError
from serving.labels import Value

DEFAULT_URL = "http://127.0.0.1:8080"


@click.command(
    epilog="Examples: rockstar predict --model cnn seven.png; rockstar predict flowers.csv"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", help="Name of the model; needed where several are served.")
@click.option("--url", default=DEFAULT_URL, help="The gateway.")
@click.option("--api-key", envvar="ROCKSTAR_API_KEY", help="Where it asks for one.")
@click.option("--grpc", metavar="HOST:PORT", help="Ask this TensorFlow Serving directly instead.")
@click.option("--version", type=click.IntRange(1), help="Version; else the newest.")
@click.option("--top", default=3, type=click.IntRange(1), help="How many labels to list.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def predict(
    files: tuple[Path, ...],
    model: str | None,
    url: str,
    api_key: str | None,
    grpc: str | None,
    version: int | None,
    top: int,
    as_json: bool,
) -> None:
    """Ask a running service about FILES: images, or CSV files with a header for tables."""
    names: list[str] = []
    try:
        names, examples = _read(files)
        if grpc is not None:
            if model is None:
                raise click.UsageError("--grpc needs --model: that API cannot list models.")
            with GrpcClient(grpc) as direct:
                answer = direct.predict(model, examples, version=version, top=top)
        else:
            with HttpClient(url, api_key=api_key) as client:
                model = model or _only_model([served.model for served in client.models()])
                answer = client.predict(model, examples, version=version, top=top)
    except (CallError, InvalidInputError) as error:
        raise click.ClickException(_by_name(str(error), names)) from error
    _print_answer(names, answer, as_json)


def _read(files: tuple[Path, ...]) -> tuple[list[str], list[Example]]:
    """The examples in the files, and what each is called: its file, for CSV also its row."""
    names: list[str] = []
    examples: list[Example] = []
    for file in files:
        try:
            found = read_examples(file)
        except InvalidInputError as error:
            raise InvalidInputError(
                str(file), expected=error.expected, got=error.got, hint=error.hint
            ) from error
        rows = file.suffix.lower() == ".csv"
        names += [f"{file}:{row + 1}" if rows else str(file) for row in range(len(found))]
        examples += found
    return names, examples


def _by_name(message: str, names: list[str]) -> str:
    """An error with the file's name where it has the example's place."""
    place = re.match(r"(?:inputs|instances)\[(\d+)\](?:\.b64)?|body row (\d+)", message)
    if place is None:
        return message
    # Rows of a CSV body are counted from 1.
    index = int(place[1]) if place[1] else int(place[2]) - 1
    return names[index] + message[place.end() :] if index < len(names) else message


def _only_model(served: list[str]) -> str:
    if len(served) != 1:
        raise click.UsageError(f"several models are served: choose --model {' | '.join(served)}")
    return served[0]


def _print_answer(names: list[str], answer: Answer, as_json: bool) -> None:
    results: tuple[Prediction | Value, ...] = answer.predictions or answer.values
    if as_json:
        documents = [
            result
            if isinstance(result, Value)
            else {"label": result.label, "score": result.score, "top": result.top}
            for result in results
        ]
        document = {"model": answer.model, "version": answer.version, "predictions": documents}
        click.echo(msgspec.json.encode(document))
        return
    width = max(map(len, names))
    for name, result in zip(names, results, strict=True):
        text = f"{result.value:g}" if isinstance(result, Value) else _labels(result)
        click.echo(f"{name:{width}}  {text}")


def _labels(prediction: Prediction) -> str:
    scores = "  ".join(f"{score.label} {score.score:.4f}" for score in prediction.top)
    return f"{prediction.label}  ({scores})"
