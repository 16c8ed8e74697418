"""The command `rockstar`: flags in, words out; the work is done elsewhere.

What a command needs is imported inside it, so that `--help` stays quick and no command that serves
or asks imports TensorFlow.
"""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.config import DATA_SETS, MODELS

if TYPE_CHECKING:
    from clients.answer import Answer
    from serving.serve import Addresses

DEFAULT_URL = "http://127.0.0.1:8080"


@click.group(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rockstartf")
def cli() -> None:
    """From a TensorFlow classifier to a prediction service."""


@cli.command(epilog="Example: rockstar train cnn --data digits")
@click.argument("model", type=click.Choice(MODELS))
@click.option("--data", type=click.Choice(DATA_SETS), default=DATA_SETS[0], help="To train on.")
@click.option("--name", help="Publish under this name.  [default: MODEL]")
@click.option(
    "--workdir", default=".", type=click.Path(path_type=Path), help="Gets models/, runs/."
)
@click.option("--epochs", type=int, help="How often the training data is seen.")
@click.option("--batch-size", type=int, help="Examples in one step.")
@click.option("--learning-rate", type=float, help="At the start.")
@click.option("--augmentation", type=float, help="Strength of random changes; 0 is none.")
@click.option("--seed", type=int, help="The same seed, the same model.")
@click.option("--test-fraction", type=float, help="Share of the data that is held out.")
def train(model: str, data: str, workdir: Path, **settings: Any) -> None:
    """Train a MODEL, test it on held-out examples, and publish it as the next version.

    What is not given has a default that suits the model.
    """
    from training.config import config_for
    from training.errors import TrainingError
    from training.progress import shown

    given = {name: value for name, value in settings.items() if value is not None}
    try:
        config = config_for(model, data=data, **given)
        try:
            from training.summary import summarize
            from training.train import train_and_evaluate
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"training needs {error.name}: pip install 'rockstartf[train]'"
            ) from error
        with shown(f"Training {config.name}", config.epochs) as progress:
            result = train_and_evaluate(config, workdir, progress)
        click.echo(summarize(result))
    except TrainingError as error:
        raise click.ClickException(str(error)) from error


@cli.command(epilog="Example: rockstar serve --models models --port 8080")
@click.option("--models", default="models", type=click.Path(path_type=Path), help="Model folder.")
@click.option("--model", "only", multiple=True, help="Serve just this model; repeat for several.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8080, type=click.IntRange(0, 65535), help="HTTP; 0 picks one.")
@click.option("--grpc-port", default=8500, type=click.IntRange(0, 65535), help="Likewise.")
@click.option("--rest-port", default=8501, type=click.IntRange(0, 65535), help="Likewise.")
@click.option("--workers", default=2, type=click.IntRange(1), help="Gateway processes.")
@click.option("--tfserving", metavar="HOST:PORT", help="Use this TensorFlow Serving instead.")
def serve(
    models: Path,
    only: tuple[str, ...],
    host: str,
    port: int,
    grpc_port: int,
    rest_port: int,
    workers: int,
    tfserving: str | None,
) -> None:
    """Serve the models of a folder over HTTP and gRPC until Ctrl-C."""
    from serving.serve import ServeOptions
    from serving.serve import serve as run
    from serving.supervisor import ServeError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s serve: %(message)s")
    options = ServeOptions(models, only, host, port, grpc_port, rest_port, workers, tfserving)
    try:
        run(options, _print_addresses)
    except ServeError as error:
        raise click.ClickException(str(error)) from error
    click.echo("Stopped.")


def _print_addresses(addresses: "Addresses") -> None:
    click.echo(f"Serving {', '.join(addresses.models)}")
    click.echo(f"  HTTP  {addresses.http}  (gateway)")
    click.echo(f"  gRPC  {addresses.grpc}  (TensorFlow Serving API)")
    if addresses.rest:
        click.echo(f"  REST  http://{addresses.rest}  (TensorFlow Serving API)")
    click.echo(f"Try: curl -F image=@digit.png {addresses.http}/predict/{addresses.models[0]}")
    click.echo("Ctrl-C stops it.")
    sys.stdout.flush()


@cli.command(epilog="Example: rockstar predict --model cnn seven.png")
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
    from clients.errors import CallError
    from serving.errors import InvalidInputError

    try:
        if grpc is not None:
            from clients.grpc import GrpcClient

            if model is None:
                raise click.UsageError("--grpc needs --model: that API cannot list models.")
            with GrpcClient(grpc) as direct:
                answer = direct.predict(model, images, version=version, top=top)
        else:
            from clients.http import HttpClient

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


def _print_answer(images: tuple[Path, ...], answer: "Answer", as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(answer))
        return
    width = max(len(str(image)) for image in images)
    for image, prediction in zip(images, answer.predictions, strict=True):
        others = "  ".join(f"{score.label} {score.score:.4f}" for score in prediction.top)
        click.echo(f"{image!s:{width}}  {prediction.label}  ({others})")


def main() -> None:
    """Entry point of the command."""
    cli(prog_name="rockstar")


if __name__ == "__main__":
    main()
