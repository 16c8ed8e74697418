"""Flags of which models are served, and when they are loaded."""

import argparse
from collections.abc import Callable

from rockstar_serving.model_server.flags import values
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.config_file import model_config, read_config_file
from rockstar_serving.model_server.options import DEFAULT_CACHE, LoadOptions, WarmupOptions


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument_group("models").add_argument
    add("--model_name", default="default", help="(%(default)s)")
    add(
        "--model_base_path",
        help="folder that holds version folders, such as models/cnn or s3://bucket/models/cnn",
    )
    add(
        "--model_cache_path",
        type=values.path,
        default=DEFAULT_CACHE,
        metavar="PATH",
        help="folder for copies of models in object stores (%(default)s)",
    )
    add(
        "--model_config_file",
        type=values.path,
        metavar="PATH",
        help="several models, as text protobuf",
    )
    add(
        "--require_all_models",
        **values.SWITCH,
        default=True,
        help="whether a model of which no version loads keeps the server from starting (true)",
    )
    add(
        "--wait_for_models",
        **values.SWITCH,
        default=True,
        help="whether the start waits, without listening, for versions that are not there yet or "
        "are tried again; false: it fails at once (true)",
    )
    _add_watching(add)
    _add_loading(add)
    _add_warmup(add)


def _add_watching(add: Callable[..., argparse.Action]) -> None:
    add(
        "--file_system_poll_wait_seconds",
        type=values.seconds,
        default=1.0,
        metavar="SECONDS",
        help="between looks for new versions; 0 or less: only at the start (1)",
    )
    add(
        "--model_config_file_poll_wait_seconds",
        type=values.seconds,
        default=0.0,
        metavar="SECONDS",
        help="between looks at the model config file; 0 or less: only at the start (0)",
    )
    add(
        "--allow_version_labels_for_unavailable_models",
        **values.SWITCH,
        default=False,
        help="whether a new label may stand for a version before it is loaded, which labels in the "
        "file that the server starts with need (false)",
    )


def _add_loading(add: Callable[..., argparse.Action]) -> None:
    add(
        "--num_load_threads",
        type=values.count,
        default=0,
        metavar="N",
        help="threads that load versions after the start; 0: the one that looks for them (0)",
    )
    add(
        "--num_unload_threads",
        type=values.count,
        default=0,
        metavar="N",
        help="threads that unload versions; 0: likewise (0)",
    )
    add(
        "--max_num_load_retries",
        type=values.clamped_count,
        default=5,
        metavar="N",
        help="of a version that does not load, while its folder stays as it is (%(default)s)",
    )
    add(
        "--load_retry_interval_micros",
        type=values.micros,
        default=60.0,
        metavar="MICROSECONDS",
        help="between these (60000000)",
    )


def _add_warmup(add: Callable[..., argparse.Action]) -> None:
    add(
        "--enable_model_warmup",
        **values.SWITCH,
        default=True,
        help="replay assets.extra/tf_serving_warmup_requests before a version is available (true)",
    )
    add(
        "--num_request_iterations_for_warmup",
        type=values.clamped_count,
        default=0,
        metavar="N",
        help="how many times each warmup request is replayed (0: once)",
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
    if not given.model_name:
        parser.error("--model_name: expected a name, got ''")
    return (model_config(given.model_name, given.model_base_path),)


def load_options(given: argparse.Namespace) -> LoadOptions:
    """When they are loaded."""
    return LoadOptions(
        poll_seconds=given.file_system_poll_wait_seconds,
        require_all_models=given.require_all_models,
        wait_for_models=given.wait_for_models,
        config_file=given.model_config_file,
        config_poll_seconds=given.model_config_file_poll_wait_seconds,
        allow_labels_for_unavailable=given.allow_version_labels_for_unavailable_models,
        load_threads=given.num_load_threads,
        unload_threads=given.num_unload_threads,
        max_load_retries=given.max_num_load_retries,
        retry_seconds=given.load_retry_interval_micros,
        cache_path=given.model_cache_path or DEFAULT_CACHE,
    )


def warmup_options(given: argparse.Namespace) -> WarmupOptions:
    """How they are warmed up."""
    return WarmupOptions(given.enable_model_warmup, given.num_request_iterations_for_warmup or 1)
