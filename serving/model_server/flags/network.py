"""Flags of where and how the server listens."""

import argparse
import os

from serving.model_server.flags import values
from serving.model_server.options import GrpcOptions, RestOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    threads = 4 * (os.cpu_count() or 1)
    add = parser.add_argument_group("network").add_argument
    everywhere = "0.0.0.0"  # noqa: S104 (as TensorFlow Serving does)
    add("--host", default=everywhere, help="address to listen on (%(default)s)")
    add(
        "--port",
        type=values.port,
        default=8500,
        help="gRPC: a number, 0 for off, or auto for a free one (%(default)s)",
    )
    add("--rest_api_port", type=values.port, default=None, help="REST: likewise (0)")
    add("--grpc_max_threads", type=values.positive, default=threads, help="(%(default)s)")
    add("--rest_api_num_threads", type=values.positive, default=threads, help="(%(default)s)")
    add(
        "--address_file",
        type=values.path,
        metavar="PATH",
        help="when ready, write the addresses and the process id here, as JSON",
    )


def grpc_options(given: argparse.Namespace) -> GrpcOptions:
    """What the flags say of gRPC."""
    return GrpcOptions(given.port, given.grpc_max_threads)


def rest_options(given: argparse.Namespace) -> RestOptions:
    """What the flags say of REST."""
    return RestOptions(given.rest_api_port, given.rest_api_num_threads)


def check(given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End the process where the flags leave nothing to listen on."""
    if given.port is None and given.rest_api_port is None:
        parser.error("--port and --rest_api_port are both 0 (off): nothing to listen on")
