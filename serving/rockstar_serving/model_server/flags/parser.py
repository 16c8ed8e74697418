"""The command line as a whole."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rockstar_serving.model_server.flags import (
    batching,
    ignored,
    inference,
    logging,
    models,
    monitoring,
    network,
    runtime,
    version,
)
from rockstar_serving.model_server.options import ServerOptions

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


class FlagParser(argparse.ArgumentParser):
    """argparse, with messages in two lines that name the flag that was meant."""

    @property
    def names(self) -> list[str]:
        """All flags, as they are written."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """End the process with status 2 and a message."""
        self.exit(2, f"{self.prog}: {message}\n{self.prog}: --help lists the flags\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """End the process because of arguments that are no flags; each with the nearest flag."""
        self.error("; ".join(map(self._unknown, unknown)))

    def _unknown(self, argument: str) -> str:
        if not argument.startswith("-"):
            return f"expected a flag, got {argument!r}"
        name = argument.partition("=")[0]  # what follows may be a secret
        known = [option.lstrip("-") for option in self.names]
        near = difflib.get_close_matches(name.lstrip("-").replace("-", "_"), known, n=1)
        return f"unknown flag {name}" + (f": did you mean --{near[0]}?" if near else "")


def parse_flags(arguments: Sequence[str], program: str = PROGRAM) -> Flags:
    """Read a command line; wrong flags end the process with status 2 and a message.

    Args:
        arguments: the flags.
        program: what messages call the program.

    Raises:
        ConfigError: a file that a flag names or a base path cannot be used.
    """
    parser = make_parser(program)
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.refuse(unknown)
    if given.version:
        sys.stdout.write(version.text())
        parser.exit()
    ignored.warn(given)
    network.check(given, parser)
    options = ServerOptions(
        models=models.model_configs(given, parser),
        host=network.host(given),
        grpc=network.grpc_options(given),
        rest=network.rest_options(given),
        load=models.load_options(given),
        engine=runtime.engine_options(given, parser),
        batching=batching.batching_options(given, parser),
        inference=inference.inference_options(given),
        warmup=models.warmup_options(given),
        monitoring=monitoring.monitoring_options(given),
    )
    return Flags(options, given.address_file)


def make_parser(program: str = PROGRAM) -> FlagParser:
    """A parser of all flags."""
    parser = FlagParser(
        prog=program,
        allow_abbrev=False,
        usage="%(prog)s --model_base_path=FOLDER [--flag=value …]",
        description="Serve models over TensorFlow Serving's gRPC and REST API.",
        epilog="Flags are those of tensorflow_model_server, except --host, --address_file, "
        "--rest_api_max_body_bytes, --require_all_models, --wait_for_models, --model_cache_path, "
        "--litert_on_demand, --enable_grpc_reflection, --log_format and the port 'auto'. In "
        "parentheses: what a flag is where it is not given.",
    )
    groups = version, network, models, runtime, batching, inference, monitoring, logging, ignored
    for group in groups:
        group.add(parser)
    return parser
