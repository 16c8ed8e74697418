"""Flags of which models are served, and when they are loaded."""

import argparse

from serving.model_server.flags import values
from serving.model_server.models.config import ModelConfig, local_path, read_config_file
from serving.model_server.options import LoadOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument_group("models").add_argument
    add("--model_name", default="default", help="(%(default)s)")
    add("--model_base_path", help="folder that holds version folders, such as models/cnn")
    add(
        "--model_config_file",
        type=values.path,
        metavar="PATH",
        help="several models, as text protobuf",
    )
    add(
        "--require_all_models",
        type=values.boolean,
        nargs="?",
        const=True,
        default=True,
        help="whether a model of which no version loads keeps the server from starting (true)",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=values.seconds,
        default=1.0,
        metavar="SECONDS",
        help="between looks for new versions; 0: only at the start (1)",
    )


def model_configs(
    given: argparse.Namespace, parser: argparse.ArgumentParser
) -> tuple[ModelConfig, ...]:
    """The models.

    Raises:
        ConfigError: the model config file or a base path cannot be used.
    """
    # As in TensorFlow Serving the file wins: its container always passes a base path too.
    if given.model_config_file is not None:
        return read_config_file(given.model_config_file)
    if not given.model_base_path:
        parser.error("--model_base_path or --model_config_file is needed")
    if not given.model_name or "/" in given.model_name or ":" in given.model_name:
        parser.error("--model_name must be a name without '/' and ':'")
    return (ModelConfig(given.model_name, local_path(given.model_base_path)),)


def load_options(given: argparse.Namespace) -> LoadOptions:
    """When they are loaded."""
    return LoadOptions(given.file_system_poll_wait_seconds, given.require_all_models)
