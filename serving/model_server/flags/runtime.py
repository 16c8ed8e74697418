"""Flags of how models are run."""

import argparse

from serving.model_server.flags import values
from serving.model_server.options import EngineOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument_group("runtime").add_argument
    add(
        "--prefer_tflite_model",
        type=values.boolean,
        nargs="?",
        const=True,
        default=True,
        metavar="BOOL",
        help="accepted; LiteRT (model.tflite) is the only engine",
    )
    add(
        "--tensorflow_intra_op_parallelism",
        type=values.count,
        default=0,
        metavar="N",
        help="threads for one request (0: one; requests run side by side, one for each core)",
    )


def engine_options(given: argparse.Namespace) -> EngineOptions:
    """What the flags say of the engine."""
    return EngineOptions(given.tensorflow_intra_op_parallelism)
