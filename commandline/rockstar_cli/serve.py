"""`rockstar serve` and `rockstar model-server`."""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from rockstar_cli.options import MODEL, json_option, models_option
from rockstar_cli.output import echo_json

if TYPE_CHECKING:
    from rockstar_serving.logs import LogFormat
    from rockstar_serving.model_server.flags import FlagParser
    from rockstar_serving.serve import Addresses

_PORT = click.IntRange(0, 65535)
_PROGRAM = "rockstar model-server"


@click.command(epilog="Example: rockstar serve --models models --port 8080")
@models_option
@click.option(
    "--model", "only", multiple=True, type=MODEL, help="Serve just this model; repeat for several."
)
@click.option("--host", default="127.0.0.1", help="Address of the HTTP port.")
@click.option("--port", default=8080, type=_PORT, help="HTTP port; 0 picks one.")
@click.option(
    "--tls-certificate",
    metavar="FILE",
    envvar="ROCKSTAR_TLS_CERTIFICATE",
    help="PEM file of the certificate and its chain, for HTTPS.",
)
@click.option(
    "--tls-key",
    metavar="FILE",
    envvar="ROCKSTAR_TLS_KEY",
    help="PEM file of the certificate's key.",
)
@click.option(
    "--model-server-host",
    default="127.0.0.1",
    help="Address of the gRPC and REST ports, which check no API keys.",
)
@click.option("--grpc-port", default=8500, type=_PORT, help="gRPC port; 0 picks one.")
@click.option(
    "--rest-port", default=8501, type=_PORT, help="TensorFlow Serving REST port; 0 picks one."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Gateway processes, which all run the models.  [default: one per core, 2 to 8]",
)
@click.option("--tfserving", metavar="HOST:PORT", help="Use this TensorFlow Serving instead.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="ROCKSTAR_LOG_FORMAT",
    help="Format of log lines on standard error: text, or one JSON object per line.",
)
@click.option(
    "--require-all-models",
    is_flag=True,
    envvar="ROCKSTAR_REQUIRE_ALL_MODELS",
    help="Do not start if a model fails to load.",
)
@json_option
def serve(log_format: "LogFormat", tfserving: str | None, as_json: bool, **settings: Any) -> None:
    """Serve the models in a folder over HTTP and gRPC until Ctrl-C.

    New, changed and removed models and versions are picked up within seconds. A model that fails to
    load is reported; the others are served.
    """
    from rockstar_serving import logs
    from rockstar_serving.model_server import missing_packages
    from rockstar_serving.serve import ServeOptions
    from rockstar_serving.serve import serve as run

    if tfserving is None and (reason := missing_packages()):
        raise click.ClickException(f"{reason}; with --tfserving HOST:8500 it is not needed")
    logs.configure(log_format, "serve")
    given = {name: value for name, value in settings.items() if value is not None}
    options = ServeOptions(tfserving=tfserving, log_format=log_format, **given)
    run(options, (lambda at: echo_json(dataclasses.asdict(at))) if as_json else _echo_addresses)
    if not as_json:
        click.echo("Stopped.")


def _echo_addresses(addresses: "Addresses") -> None:
    lines = [
        f"Serving {', '.join(addresses.models)}",
        f"  HTTP  {addresses.http}  (page to try it: /, API: /docs)",
        f"  gRPC  {addresses.grpc}  (TensorFlow Serving API)",
        *([f"  REST  http://{addresses.rest}  (TensorFlow Serving API)"] if addresses.rest else []),
        f"Try: curl -F file=@FILE {addresses.http}/predict/{addresses.models[0]}"
        "  (FILE: an image, or rows as CSV)",
        "Ctrl-C stops it.",
    ]
    # In one write, so that log lines of first requests do not appear in between.
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()


class _CommandWithFlags(click.Command):
    """A command whose help and completions include the model server's flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with -h only alone: as an option of click's, -model_base_path would contain it."""
        return super().parse_args(ctx, ["--help" if arg == "-h" else arg for arg in args])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the command's own options, then the flags."""
        super().format_options(ctx, formatter)
        parser = _parser()
        parser.usage, parser.description, parser.epilog = argparse.SUPPRESS, None, None
        formatter.write(f"\n{parser.format_help()}")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the command's own options and the flags."""
        from click.shell_completion import CompletionItem

        names = [f"--{name}" for name in _parser().names]
        flags = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [*super().shell_complete(ctx, incomplete), *(flags if incomplete else [])]


def _parser() -> "FlagParser":
    from rockstar_serving.model_server.flags import FlagParser

    return FlagParser(_PROGRAM)


@click.command(
    cls=_CommandWithFlags,
    name="model-server",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    options_metavar="[--FLAG=VALUE]…",
    epilog="Example: rockstar model-server --port=8500 --rest_api_port=8501 --model_name=cnn "
    "--model_base_path=models/cnn --prefer_tflite_model",
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="")
@json_option
@click.help_option("--help", hidden=True)
def model_server(flags: tuple[str, ...], as_json: bool) -> None:
    """Serve models over TensorFlow Serving's gRPC and REST API until Ctrl-C.

    Takes the flags of tensorflow_model_server, like python -m rockstar_serving.model_server. With
    --json it prints its addresses once it is ready.
    """
    from rockstar_serving.model_server import missing_packages

    if reason := missing_packages():
        raise click.ClickException(reason)
    from rockstar_serving.model_server.command import main

    on_ready = (lambda grpc, rest: echo_json({"grpc": grpc, "rest": rest})) if as_json else None
    status = main(flags, program=_PROGRAM, on_ready=on_ready)
    raise click.exceptions.Exit(status)
