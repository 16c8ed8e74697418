"""Training on several devices, of one machine or of many.

The environment says where: `TF_CONFIG` names this process among the workers of a training, as
TensorFlow's documentation describes it. The first worker, or the one called chief, publishes.
Imports TensorFlow only where a strategy is made.
"""

import json
import os
from contextlib import suppress
from typing import Any

from rockstar_training.errors import ConfigError

_VARIABLE = "TF_CONFIG"


def is_chief() -> bool:
    """Whether this process publishes: it trains alone, or is the chief of all workers.

    Raises:
        ConfigError: TF_CONFIG is set and cannot be understood.
    """
    task = _task()
    if task is None:
        return True
    cluster, kind, index = task
    return kind == "chief" or ("chief" not in cluster and kind == "worker" and index == 0)


def has_several_workers() -> bool:
    """Whether TF_CONFIG names a cluster that trains together.

    Raises:
        ConfigError: TF_CONFIG is set and cannot be understood.
    """
    return _task() is not None


def strategy() -> Any:
    """The tf.distribute.Strategy for this machine and TF_CONFIG; make it before anything else.

    GPUs get memory as they need it, not all of it at once.

    Raises:
        ConfigError: TF_CONFIG is set and cannot be understood.
    """
    from rockstar_training.tensorflow_setup import tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # Not possible once TensorFlow has been used; then it stays as it is.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    if _task() is not None:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def dtype_policy(mixed_precision: str) -> str:
    """The dtype policy of Keras layers for a configuration's mixed_precision.

    "auto" is bfloat16, which needs no scaling of losses, on GPUs that compute with it.
    """
    if mixed_precision == "auto":
        return "mixed_bfloat16" if _has_bfloat16() else "float32"
    return "mixed_bfloat16" if mixed_precision == "on" else "float32"


def _has_bfloat16() -> bool:
    from rockstar_training.tensorflow_setup import tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return bool(gpus) and all(d.get("compute_capability", (0, 0)) >= (8, 0) for d in details)


def _task() -> tuple[dict[str, Any], str, int] | None:
    """The cluster, and this process's kind and index in it; None where there is just this one."""
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
