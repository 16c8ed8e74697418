"""`rockstar serve`."""

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commandline.names import ModelName
from commandline.options import json_option, models_option
from commandline.output import echo_json
from serving import logs
from serving.serve_options import ServeOptions, default_workers

if TYPE_CHECKING:
    from serving.serve import Addresses


@click.command(epilog="Example: rockstar serve --models models --port 8080")
@models_option
@click.option(
    "--model",
    "only",
    multiple=True,
    type=ModelName(),
    help="Serve just this model; repeat for several.",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8080, type=click.IntRange(0, 65535), help="HTTP; 0 picks one.")
@click.option("--grpc-port", default=8500, type=click.IntRange(0, 65535), help="Likewise.")
@click.option("--rest-port", default=8501, type=click.IntRange(0, 65535), help="Likewise.")
@click.option(
    "--workers",
    default=default_workers,
    show_default=False,
    type=click.IntRange(1),
    help="Gateway processes, each with the models; left out, one for each core, 2 to 8.",
)
@click.option("--tfserving", metavar="HOST:PORT", help="Use this TensorFlow Serving instead.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="ROCKSTAR_LOG_FORMAT",
    help="Lines on standard error: text, or json with an object a line.",
)
@click.option(
    "--require-all-models",
    is_flag=True,
    envvar="ROCKSTAR_REQUIRE_ALL_MODELS",
    help="Start only if every model loads; else those that load are served.",
)
@json_option
def serve(
    models: Path,
    only: tuple[str, ...],
    host: str,
    port: int,
    grpc_port: int,
    rest_port: int,
    workers: int,
    tfserving: str | None,
    log_format: logs.LogFormat,
    require_all_models: bool,
    as_json: bool,
) -> None:
    """Serve the models of a folder over HTTP and gRPC until Ctrl-C.

    Models and versions that come, change or go later are taken up within seconds. A model that does
    not load is reported; the others are served.
    """
    from serving.model_server.installed import missing
    from serving.serve import serve as run

    reason = missing() if tfserving is None else ""
    if reason:
        raise click.ClickException(f"{reason}; with --tfserving HOST:8500 it is not needed")
    logs.configure(log_format, "serve")
    options = ServeOptions(
        *(models, only, host, port, grpc_port, rest_port, workers, tfserving, log_format),
        require_all_models=require_all_models,
    )
    run(options, partial(_tell, as_json))
    if not as_json:
        click.echo("Stopped.")


def _tell(as_json: bool, addresses: "Addresses") -> None:
    if as_json:
        echo_json(dataclasses.asdict(addresses))
        return
    lines = [
        f"Serving {', '.join(addresses.models)}",
        f"  HTTP  {addresses.http}  (page to try it: /, API: /docs)",
        f"  gRPC  {addresses.grpc}  (TensorFlow Serving API)",
        *([f"  REST  http://{addresses.rest}  (TensorFlow Serving API)"] if addresses.rest else []),
        f"Try: curl -F file=@FILE {addresses.http}/predict/{addresses.models[0]}"
        "  (FILE: an image, or rows as CSV)",
        "Ctrl-C stops it.",
    ]
    # At once: in a terminal, lines of requests that come by now must not be among them.
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()
