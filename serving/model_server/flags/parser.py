"""The command line as a whole."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from serving.model_server.flags import batching, models, network, runtime
from serving.model_server.options import ServerOptions

PROGRAM = "model_server"


@dataclass(frozen=True)
class Flags:
    """What the command line asks for.

    Attributes:
        options: of the server.
        address_file: where to tell the real ports, if anywhere.
    """

    options: ServerOptions
    address_file: Path | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: {message}\n{PROGRAM}: --help lists the flags\n")


def parse_flags(arguments: Sequence[str]) -> Flags:
    """Read a command line; wrong flags end the process with status 2 and a message.

    Raises:
        ConfigError: a file that a flag names or a base path cannot be used.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    network.check(given, parser)
    options = ServerOptions(
        models=models.model_configs(given, parser),
        host=given.host,
        grpc=network.grpc_options(given),
        rest=network.rest_options(given),
        load=models.load_options(given),
        engine=runtime.engine_options(given),
        batching=batching.batching_options(given, parser),
    )
    return Flags(options, given.address_file)


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Serve models over TensorFlow Serving's gRPC and REST API.",
        epilog="Flags are those of tensorflow_model_server, except --host, --address_file, "
        "--rest_api_max_body_bytes, --require_all_models and the port 'auto'.",
    )
    for group in (network, models, runtime, batching):
        group.add(parser)
    return parser
