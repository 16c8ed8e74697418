"""The flag of how log lines look, which is read before all others."""

import argparse
from collections.abc import Sequence

from rockstar_serving.logs import LogFormat


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    parser.add_argument_group("logging").add_argument(
        "--log_format",
        choices=["text", "json"],
        default="text",
        help="of the lines on standard error: text, or one JSON object a line (%(default)s)",
    )


def log_format(arguments: Sequence[str]) -> LogFormat:
    """What a command line says of it, whatever else is wrong there."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add(parser)
    try:
        given, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return "text"  # the reading of the whole command line says what is wrong
    found: LogFormat = given.log_format
    return found
