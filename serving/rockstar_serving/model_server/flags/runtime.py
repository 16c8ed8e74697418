"""Flags of how models are run."""

import argparse
from collections.abc import Callable

from rockstar_serving.model_server.flags import values
from rockstar_serving.model_server.options import EngineOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument_group("runtime").add_argument
    add(
        "--prefer_tflite_model",
        **values.SWITCH,
        default=False,
        help="run what has a model.tflite in LiteRT, even where TensorFlow could run its "
        "SavedModel (false)",
    )
    add(
        "--saved_model_tags",
        type=values.names,
        default="serve",
        metavar="TAG,TAG",
        help="of the graph in a SavedModel that is loaded (%(default)s)",
    )
    _add_tensorflow(add)
    _add_litert(add)


def _add_tensorflow(add: Callable[..., argparse.Action]) -> None:
    add(
        "--tensorflow_session_parallelism",
        type=values.count,
        default=0,
        metavar="N",
        help="sets both of the following, where neither is given",
    )
    add(
        "--tensorflow_intra_op_parallelism",
        type=values.count,
        default=0,
        metavar="N",
        help="threads of one operation; in LiteRT, of one request (0: TensorFlow one for each "
        "core, LiteRT one)",
    )
    add(
        "--tensorflow_inter_op_parallelism",
        type=values.count,
        default=0,
        metavar="N",
        help="threads for operations that do not depend on each other (0: one for each core)",
    )
    add(
        "--per_process_gpu_memory_fraction",
        type=values.fraction,
        default=0.0,
        metavar="SHARE",
        help="of a GPU's memory that TensorFlow takes at the start (0: as TensorFlow likes)",
    )


def _add_litert(add: Callable[..., argparse.Action]) -> None:
    add(
        "--num_tflite_pools",
        type=values.count,
        default=0,
        metavar="N",
        help="requests that run at once in LiteRT, for each version (0: one for each core)",
    )
    add(
        "--num_tflite_interpreters_per_pool",
        type=values.positive,
        default=1,
        metavar="N",
        help="multiplies --num_tflite_pools (1)",
    )
    add(
        "--litert_on_demand",
        **values.SWITCH,
        default=False,
        help="for a server that is seldom asked: a version that was loaded and warmed up rests "
        "until its first request, which reads the file again (false)",
    )


def engine_options(given: argparse.Namespace, parser: argparse.ArgumentParser) -> EngineOptions:
    """What the flags say of the engines; ends the process where they contradict each other."""
    intra, inter = _threads(given, parser)
    return EngineOptions(
        prefer_tflite=given.prefer_tflite_model,
        intra_op_threads=intra,
        inter_op_threads=inter,
        saved_model_tags=given.saved_model_tags,
        gpu_memory_fraction=given.per_process_gpu_memory_fraction,
        litert_pools=given.num_tflite_pools,
        litert_interpreters=given.num_tflite_interpreters_per_pool,
        litert_on_demand=given.litert_on_demand,
    )


def _threads(given: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[int, int]:
    """Threads within and between operations, by the rules of TensorFlow Serving (server.cc)."""
    intra = given.tensorflow_intra_op_parallelism
    inter = given.tensorflow_inter_op_parallelism
    both = given.tensorflow_session_parallelism
    if intra and inter and both:
        parser.error(
            "--tensorflow_session_parallelism cannot be given together with "
            "--tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism"
        )
    return (intra, inter) if intra or inter else (both, both)
