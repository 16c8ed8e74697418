"""`rockstar serve`."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import click

from serving.serve import Addresses, ServeOptions
from serving.serve import serve as run
from serving.supervisor import ServeError


@click.command(epilog="Example: rockstar serve --models models --port 8080")
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
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s serve: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    options = ServeOptions(models, only, host, port, grpc_port, rest_port, workers, tfserving)
    try:
        run(options, _print_addresses)
    except ServeError as error:
        raise click.ClickException(str(error)) from error
    click.echo("Stopped.")


def _print_addresses(addresses: Addresses, _stopping: Callable[[], bool]) -> None:
    click.echo(f"Serving {', '.join(addresses.models)}")
    click.echo(f"  HTTP  {addresses.http}  (gateway)")
    click.echo(f"  gRPC  {addresses.grpc}  (TensorFlow Serving API)")
    if addresses.rest:
        click.echo(f"  REST  http://{addresses.rest}  (TensorFlow Serving API)")
    click.echo(f"Try: curl -F image=@digit.png {addresses.http}/predict/{addresses.models[0]}")
    click.echo("Ctrl-C stops it.")
    sys.stdout.flush()
