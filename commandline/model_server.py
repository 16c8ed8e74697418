"""`rockstar model-server`."""

import argparse
from typing import TYPE_CHECKING, Any

import click

from commandline.options import json_option
from commandline.output import echo_json

if TYPE_CHECKING:
    from serving.model_server.flags.parser import FlagParser

_PROGRAM = "rockstar model-server"


class _WithFlags(click.Command):
    """A command whose help and completions have the model server's flags too."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Our options, then the flags."""
        super().format_options(ctx, formatter)
        parser = _parser()
        parser.usage, parser.description, parser.epilog = argparse.SUPPRESS, None, None
        formatter.write(f"\n{parser.format_help()}")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Our options and the flags."""
        from click.shell_completion import CompletionItem

        flags = [CompletionItem(name) for name in _parser().names if name.startswith(incomplete)]
        return [*super().shell_complete(ctx, incomplete), *(flags if incomplete else [])]


@click.command(
    cls=_WithFlags,
    name="model-server",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    options_metavar="[--FLAG=VALUE]…",
    epilog="Example: rockstar model-server --port=8500 --rest_api_port=8501 --model_name=cnn "
    "--model_base_path=models/cnn --prefer_tflite_model",
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="")
@json_option
@click.help_option("-h", "--help", hidden=True)
def model_server(flags: tuple[str, ...], as_json: bool) -> None:
    """Serve models over TensorFlow Serving's gRPC and REST API until Ctrl-C.

    The same server as python -m serving.model_server, with the flags of tensorflow_model_server;
    with --json it prints its addresses when it answers.
    """
    from serving.model_server.installed import missing

    reason = missing()
    if reason:
        raise click.ClickException(reason)
    from serving.model_server.command import main

    status = main(flags, program=_PROGRAM, on_ready=_tell if as_json else None)
    raise click.exceptions.Exit(status)


def _tell(grpc: str | None, rest: str | None) -> None:
    echo_json({"grpc": grpc, "rest": rest})


def _parser() -> "FlagParser":
    from serving.model_server.flags.parser import make_parser

    return make_parser(_PROGRAM)
