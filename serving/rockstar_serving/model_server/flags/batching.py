"""Flags of how requests are batched."""

import argparse
import logging

from rockstar_serving.model_server.batching.parameters import (
    FIELDS,
    POOL_FIELDS,
    BatchingParameters,
    read_parameters,
)
from rockstar_serving.model_server.flags import values
from rockstar_serving.model_server.options import BatchingOptions

log = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument_group("batching").add_argument
    add(
        "--enable_batching",
        **values.SWITCH,
        default=False,
        help="whether requests for the same signature that wait are run together (false)",
    )
    add(
        "--batching_parameters_file",
        type=values.path,
        metavar="PATH",
        help="how, as text protobuf: max_batch_size, batch_timeout_micros, …",
    )
    add(
        "--enable_per_model_batching_parameters",
        **values.SWITCH,
        default=False,
        help="whether to batch the versions that have a file batching_params.pbtxt in their "
        "folder, each as it says there, and no others (false)",
    )


def batching_options(given: argparse.Namespace, parser: argparse.ArgumentParser) -> BatchingOptions:
    """What the flags say of batching.

    Raises:
        ConfigError: the file of parameters cannot be used.
    """
    path, per_model = given.batching_parameters_file, given.enable_per_model_batching_parameters
    if path is None:
        # The name that TensorFlow Serving gives the threads without a file.
        parameters = BatchingParameters(thread_pool_name="model_server_batch_threads")
    elif given.enable_batching:
        parameters = read_parameters(path, POOL_FIELDS if per_model else FIELDS)
    else:
        parser.error(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true. Add --enable_batching."
        )
    if per_model and not given.enable_batching:
        log.warning(
            "--enable_per_model_batching_parameters is without effect: no --enable_batching"
        )
    return BatchingOptions(given.enable_batching, parameters, per_model)
