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
        "--rest_api_timeout_in_ms",
        type=values.count,
        default=30_000,
        metavar="MS",
        help="after which a request is answered with 504; 0: no limit (%(default)s)",
    )
    add(
        "--rest_api_enable_cors_support",
        type=values.boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="BOOL",
        help="whether web pages of other origins may use REST (false)",
    )
    add(
        "--rest_api_max_body_bytes",
        type=values.positive,
        default=RestOptions.max_body_bytes,
        metavar="N",
        help="larger bodies are refused; reading one takes up to ten times its size (%(default)s)",
    )
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
    return RestOptions(
        given.rest_api_port,
        given.rest_api_num_threads,
        timeout_seconds=given.rest_api_timeout_in_ms / 1000 or None,
        max_body_bytes=given.rest_api_max_body_bytes,
        cors=given.rest_api_enable_cors_support,
    )


def check(given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End the process where the flags leave nothing to listen on."""
    if given.port is None and given.rest_api_port is None:
        parser.error("--port and --rest_api_port are both 0 (off): nothing to listen on")
