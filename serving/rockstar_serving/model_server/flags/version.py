"""The flag that prints versions."""

import argparse

from rockstar_serving.model_server.flags import values
from tfs_api.services import TENSORFLOW_SERVING_VERSION


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    parser.add_argument(
        "--version",
        **values.SWITCH,
        default=False,
        help="print the version, and which TensorFlow Serving's API it follows, and exit",
    )


def text() -> str:
    """What is printed."""
    # Not for every start: it takes a hundredth of a second.
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours = version("rockstartf")
    except PackageNotFoundError:  # run from a checkout that is not installed
        ours = "of a checkout"
    return (
        f"RockstarTF model server: {ours}\n"
        f"API of TensorFlow Serving: {TENSORFLOW_SERVING_VERSION}\n"
    )
