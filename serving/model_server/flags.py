"""Command line flags, named and written as TensorFlow Serving's."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from serving.model_server.models.config import ModelConfig, local_path, read_config_file
from serving.model_server.options import (
    ANY_PORT,
    EngineOptions,
    GrpcOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
)

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
        ConfigError: the model config file or a base path cannot be used.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.port is None and given.rest_api_port is None:
        parser.error("--port and --rest_api_port are both 0 (off): nothing to listen on")
    options = ServerOptions(
        models=_models(given, parser),
        host=given.host,
        grpc=GrpcOptions(given.port, given.grpc_max_threads),
        rest=RestOptions(given.rest_api_port, given.rest_api_num_threads),
        load=LoadOptions(given.file_system_poll_wait_seconds, given.require_all_models),
        engine=EngineOptions(given.tensorflow_intra_op_parallelism),
    )
    return Flags(options, given.address_file)


def _models(given: argparse.Namespace, parser: _Parser) -> tuple[ModelConfig, ...]:
    # As in TensorFlow Serving the file wins: its container always passes a base path too.
    if given.model_config_file is not None:
        return read_config_file(given.model_config_file)
    if not given.model_base_path:
        parser.error("--model_base_path or --model_config_file is needed")
    if not given.model_name or "/" in given.model_name or ":" in given.model_name:
        parser.error("--model_name must be a name without '/' and ':'")
    return (ModelConfig(given.model_name, local_path(given.model_base_path)),)


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Serve models over TensorFlow Serving's gRPC and REST API.",
        epilog="Flags are those of tensorflow_model_server, except --host, --address_file, "
        "--require_all_models and the port 'auto'.",
    )
    _add_network_flags(parser)
    _add_model_flags(parser)
    return parser


def _add_network_flags(parser: _Parser) -> None:
    threads = 4 * (os.cpu_count() or 1)
    add = parser.add_argument
    everywhere = "0.0.0.0"  # noqa: S104 (as TensorFlow Serving does)
    add("--host", default=everywhere, help="address to listen on (%(default)s)")
    add(
        "--port",
        type=_port,
        default=8500,
        help="gRPC: a number, 0 for off, or auto for a free one (%(default)s)",
    )
    add("--rest_api_port", type=_port, default=None, help="REST: likewise (0)")
    add("--grpc_max_threads", type=_positive, default=threads, help="(%(default)s)")
    add("--rest_api_num_threads", type=_positive, default=threads, help="(%(default)s)")
    add(
        "--address_file",
        type=Path,
        metavar="PATH",
        help="when ready, write the addresses and the process id here, as JSON",
    )


def _add_model_flags(parser: _Parser) -> None:
    add = parser.add_argument
    add(
        "--require_all_models",
        type=_boolean,
        nargs="?",
        const=True,
        default=True,
        help="whether a model of which no version loads keeps the server from starting (true)",
    )
    add("--model_name", default="default", help="(%(default)s)")
    add("--model_base_path", help="folder that holds version folders, such as models/cnn")
    add("--model_config_file", type=Path, metavar="PATH", help="several models, as text protobuf")
    add(
        "--file_system_poll_wait_seconds",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="between looks for new versions; 0: only at the start (1)",
    )
    add(
        "--prefer_tflite_model",
        type=_boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOL",
        help="accepted; LiteRT (model.tflite) is the only engine",
    )
    add(
        "--tensorflow_intra_op_parallelism",
        type=_count,
        default=0,
        metavar="N",
        help="threads for one request (0: one; requests run side by side, one for each core)",
    )


def _port(text: str) -> int | None:
    if text == "auto":
        return ANY_PORT
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535 or auto, got {text!r}")
    return int(text) or None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!r}")
    return seconds


def _boolean(text: str) -> bool:
    values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}") from None
