"""Flags of where and how the server listens."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from rockstar_serving.model_server.flags import values
from rockstar_serving.model_server.options import GrpcOptions, RestOptions, TlsOptions

Add = Callable[..., argparse.Action]


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    everywhere = "0.0.0.0"  # noqa: S104 (as TensorFlow Serving does)
    network = parser.add_argument_group("network").add_argument
    network("--host", default=everywhere, help="address to listen on (%(default)s)")
    network(
        "--address_file",
        type=values.path,
        metavar="PATH",
        help="when ready, write the addresses and the process id here, as JSON",
    )
    threads = 4 * (os.cpu_count() or 1)
    _add_grpc(parser.add_argument_group("gRPC").add_argument, threads)
    _add_rest(parser.add_argument_group("REST").add_argument, threads)


def _add_grpc(add: Add, threads: int) -> None:
    add(
        "--port",
        type=values.port,
        default=8500,
        help="a number, 0 for off, or auto for a free one (%(default)s)",
    )
    add(
        "--grpc_socket_path",
        type=values.path,
        metavar="PATH",
        help="UNIX socket to listen on, beside the port",
    )
    add(
        "--grpc_max_threads",
        type=values.positive,
        default=threads,
        metavar="N",
        help="calls that are handled at once (%(default)s)",
    )
    add(
        "--ssl_config_file",
        type=values.path,
        metavar="PATH",
        help="TLS, as text protobuf: server_key, server_cert, custom_ca and client_verify",
    )
    add(
        "--grpc_channel_arguments",
        type=values.channel_arguments,
        default={},
        metavar="NAME=VALUE,…",
        help="of gRPC itself, such as grpc.max_connection_age_ms=2000",
    )
    _add_switch(add, "--enable_grpc_healthcheck_service", "answer grpc.health.v1")
    _add_switch(add, "--enable_grpc_reflection", "tell clients such as grpcurl what can be called")
    _add_switch(
        add,
        "--enable_serialization_as_tensor_content",
        "answer tensors as bytes (tensor_content) instead of in typed fields such as float_val",
    )
    _add_switch(add, "--use_alts_credentials", "refused: use --ssl_config_file")


def _add_rest(add: Add, threads: int) -> None:
    add(
        "--rest_api_port",
        type=values.port,
        default=None,
        help="a number, 0 for off, or auto for a free one (0)",
    )
    add(
        "--rest_api_num_threads",
        type=values.positive,
        default=threads,
        metavar="N",
        help="requests that are handled at once (%(default)s)",
    )
    add(
        "--rest_api_timeout_in_ms",
        type=values.clamped_count,
        default=30_000,
        metavar="MS",
        help="after which a request is answered with 504; 0: no limit (%(default)s)",
    )
    add(
        "--rest_api_enable_cors_support",
        **values.SWITCH,
        default=False,
        help="whether web pages of other origins may use REST (false)",
    )
    add(
        "--rest_api_max_body_bytes",
        type=values.positive,
        default=RestOptions.max_body_bytes,
        metavar="N",
        help="larger bodies are refused; reading one takes up to ten times its size (%(default)s)",
    )


def _add_switch(add: Add, name: str, what: str) -> None:
    add(
        name,
        **values.SWITCH,
        default=False,
        help=f"{what} (false)",
    )


def check(given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End the process where the flags leave nothing to listen on, or ask for the impossible."""
    if given.port is None and given.rest_api_port is None and given.grpc_socket_path is None:
        parser.error(
            "--port and --rest_api_port are both 0 (off), and there is no --grpc_socket_path: "
            "nothing to listen on"
        )
    if given.port and given.port == given.rest_api_port:
        parser.error(f"--port and --rest_api_port are both {given.port}: they must differ")
    if given.use_alts_credentials:
        parser.error("--use_alts_credentials: there is no ALTS here; use --ssl_config_file")


def host(given: argparse.Namespace) -> str:
    """Where to listen; an IPv6 address may be written in brackets."""
    name: str = given.host
    return name.removeprefix("[").removesuffix("]")


def grpc_options(given: argparse.Namespace) -> GrpcOptions:
    """What the flags say of gRPC.

    Raises:
        ConfigError: the SSL config file cannot be used.
    """
    return GrpcOptions(
        port=given.port,
        threads=given.grpc_max_threads,
        socket_path=given.grpc_socket_path,
        tls=_tls(given.ssl_config_file) if given.ssl_config_file else None,
        channel_arguments=given.grpc_channel_arguments,
        health=given.enable_grpc_healthcheck_service,
        reflection=given.enable_grpc_reflection,
        tensor_content=given.enable_serialization_as_tensor_content,
    )


def rest_options(given: argparse.Namespace) -> RestOptions:
    """What the flags say of REST."""
    return RestOptions(
        given.rest_api_port,
        given.rest_api_num_threads,
        timeout_seconds=given.rest_api_timeout_in_ms / 1000 or None,
        max_body_bytes=given.rest_api_max_body_bytes,
        cors=given.rest_api_enable_cors_support,
    )


def _tls(file: Path) -> TlsOptions:
    from rockstar_serving.model_server.tls import (
        read_ssl_config,
    )  # OpenSSL is not loaded without TLS

    return read_ssl_config(file)
