"""`rockstar predict`."""

from pathlib import Path

import click
import msgspec

from clients.answer import Answer
from clients.errors import CallError
from clients.grpc import GrpcClient
from clients.http import HttpClient
from serving.errors import InvalidInputError

DEFAULT_URL = "http://127.0.0.1:8080"


@click.command(epilog="Example: rockstar predict --model cnn seven.png")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", help="Name of the model; needed where several are served.")
@click.option("--url", default=DEFAULT_URL, help="The gateway.")
@click.option("--grpc", metavar="HOST:PORT", help="Ask this TensorFlow Serving directly instead.")
@click.option("--version", type=click.IntRange(1), help="Version; else the newest.")
@click.option("--top", default=3, type=click.IntRange(1), help="How many labels to list.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def predict(
    images: tuple[Path, ...],
    model: str | None,
    url: str,
    grpc: str | None,
    version: int | None,
    top: int,
    as_json: bool,
) -> None:
    """Ask a running service what IMAGES show."""
    try:
        if grpc is not None:
            if model is None:
                raise click.UsageError("--grpc needs --model: that API cannot list models.")
            with GrpcClient(grpc) as direct:
                answer = direct.predict(model, images, version=version, top=top)
        else:
            with HttpClient(url) as client:
                model = model or _only_model([served["model"] for served in client.models()])
                answer = client.predict(model, images, version=version, top=top)
    except (CallError, InvalidInputError) as error:
        raise click.ClickException(str(error)) from error
    _print_answer(images, answer, as_json)


def _only_model(served: list[str]) -> str:
    if len(served) != 1:
        raise click.UsageError(f"several models are served: choose --model {' | '.join(served)}")
    return served[0]


def _print_answer(images: tuple[Path, ...], answer: Answer, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(answer))
        return
    width = max(len(str(image)) for image in images)
    for image, prediction in zip(images, answer.predictions, strict=True):
        others = "  ".join(f"{score.label} {score.score:.4f}" for score in prediction.top)
        click.echo(f"{image!s:{width}}  {prediction.label}  ({others})")
