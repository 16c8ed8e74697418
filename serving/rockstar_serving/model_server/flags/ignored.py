"""Flags of TensorFlow Serving that are taken, and have no effect here."""

import argparse
import logging

log = logging.getLogger(__name__)

_NO_XLA = "models are not compiled by XLA"
_NO_TPU = "there is no TPU to initialize"
_NO_PLATFORM = "its settings have flags of their own"

REASONS = {
    "enable_profiler": "there is no profiler service",
    "flush_filesystem_caches": "the system looks after its caches",
    "mixed_precision": "models run in the precision that they were saved in",
    "platform_config_file": _NO_PLATFORM,
    "remove_unused_fields_from_bundle_metagraph": "TensorFlow keeps of a graph what it needs",
    "skip_initialize_tpu": _NO_TPU,
    "tensorflow_session_config_file": _NO_PLATFORM,
    "thread_pool_factory_config_file": "threads are set by the parallelism flags",
    "xla_cpu_compilation_enabled": _NO_XLA,
    "xla_gpu_compilation_enabled": _NO_XLA,
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("taken without effect")
    for name, reason in REASONS.items():
        group.add_argument(f"--{name}", nargs="?", const="true", metavar="VALUE", help=reason)


def warn(given: argparse.Namespace) -> None:
    """Log one line on those that are given, if any are."""
    # An empty value, which templates of manifests write, is none.
    found = [name for name in REASONS if getattr(given, name)]
    if found:
        reasons = "; ".join(f"--{name} ({REASONS[name]})" for name in found)
        log.warning("flags of TensorFlow Serving without effect here: %s", reasons)
