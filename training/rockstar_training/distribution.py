"""Training on several devices, of one machine or of many.

The environment variable `TF_CONFIG` describes the workers of a training and the role of this
process, see TensorFlow's documentation. The first worker, or the one called chief, publishes.
TensorFlow is imported only to create a strategy.
"""

import json
import os
from contextlib import suppress
from typing import Any

from rockstar_training.errors import ConfigError

_VARIABLE = "TF_CONFIG"


def is_chief() -> bool:
    """Check whether this process publishes: it trains alone, or is the chief of all workers.

    Raises:
        ConfigError: TF_CONFIG is invalid.
    """
    task = _task()
    if task is None:
        return True
    cluster, kind, index = task
    return kind == "chief" or ("chief" not in cluster and kind == "worker" and index == 0)


def has_several_workers() -> bool:
    """Check whether TF_CONFIG describes several workers.

    Raises:
        ConfigError: TF_CONFIG is invalid.
    """
    return _task() is not None


def strategy() -> Any:
    """Create the tf.distribute.Strategy, before any other use of TensorFlow.

    GPU memory is allocated on demand.

    Raises:
        ConfigError: TF_CONFIG is invalid.
    """
    from rockstar_training.tensorflow_setup import tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # Fails, without consequences, if TensorFlow has been used before.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    if _task() is not None:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def dtype_policy(mixed_precision: str) -> str:
    """Return the dtype policy of Keras layers for a configuration's mixed_precision.

    "auto" is bfloat16, which needs no loss scaling, on GPUs that support it.
    """
    used = mixed_precision == "on"
    if mixed_precision == "auto":
        from rockstar_training.tensorflow_setup import tf

        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        capable = [each.get("compute_capability", (0, 0)) >= (8, 0) for each in details]
        used = bool(gpus) and all(capable)
    return "mixed_bfloat16" if used else "float32"


def _task() -> tuple[dict[str, Any], str, int] | None:
    """Return the cluster, and this process's type and index in it; None without a cluster."""
    document = os.environ.get(_VARIABLE)
    if not document:
        return None
    try:
        settings = json.loads(document)
        cluster = settings["cluster"]
        kind, index = settings["task"]["type"], int(settings["task"]["index"])
        cluster[kind][index]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ConfigError(
            f'{_VARIABLE}: expected {{"cluster": {{"worker": ["host:port", …]}}, "task": '
            f'{{"type": "worker", "index": 0}}}}, got {document!r}'
        ) from error
    return cluster, kind, index
