"""Flags of what requests may ask of a model."""

import argparse

from rockstar_serving.model_server.flags import values
from rockstar_serving.model_server.options import InferenceOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument_group("inference").add_argument
    add(
        "--enable_signature_method_name_check",
        **values.SWITCH,
        default=False,
        help="refuse Classify and Regress to signatures of another method_name (false, because "
        "TensorFlow 2 names all signatures for Predict)",
    )


def inference_options(given: argparse.Namespace) -> InferenceOptions:
    """What requests may ask."""
    return InferenceOptions(given.enable_signature_method_name_check)
