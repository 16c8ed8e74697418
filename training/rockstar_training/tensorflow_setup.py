"""TensorFlow and Keras: their import without log output, seeds, devices and precision.

TensorFlow logs from C++ during its import, so environment variables are set before. Users can set
TF_CPP_MIN_LOG_LEVEL to see the log.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rockstar_training.indexed_job import has_several_workers

_LOG_LEVEL, _SILENT = "TF_CPP_MIN_LOG_LEVEL", "3"
os.environ.setdefault(_LOG_LEVEL, _SILENT)
# Keras reads this variable when it is imported.
os.environ["KERAS_BACKEND"] = "tensorflow"


@contextmanager
def quiet_native_log() -> Iterator[None]:
    """Discard the log output of C++ code in the body, unless TF_CPP_MIN_LOG_LEVEL requests it.

    The import of TensorFlow 2.21, the converter and the LiteRT runtime have no setting for it. All
    errors are also raised. This redirects file descriptor 2 of the whole process, so no other
    thread should write to it meanwhile.
    """
    if os.environ[_LOG_LEVEL] != _SILENT:
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


with quiet_native_log():
    import keras
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow.lite.python.convert_phase import ConverterError
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2 as freeze,
    )
    from tensorflow.python.saved_model.fingerprinting_utils import write_fingerprint
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

logging.getLogger("tensorflow").setLevel(logging.ERROR)
logging.getLogger("absl").setLevel(logging.ERROR)

# A tf.Tensor; TensorFlow has no types that a checker could use.
Tensor = Any

# Imported from here by other modules, so that the log is discarded whichever comes first.
__all__ = ["ConverterError", "SavedModel", "freeze", "keras", "tf", "write_fingerprint"]
__all__ += ["PredictLog", "PredictRequest", "PredictionLog"]


def make_repeatable(seed: int) -> None:
    """Seed all random number generators, and make operations deterministic."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def strategy() -> Any:
    """Create the tf.distribute.Strategy, before any other use of TensorFlow.

    GPU memory is allocated on demand. An invalid TF_CONFIG is a ConfigError.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # Fails, without consequences, if TensorFlow has been used before.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    if has_several_workers():
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
        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        capable = [each.get("compute_capability", (0, 0)) >= (8, 0) for each in details]
        used = bool(gpus) and all(capable)
    return "mixed_bfloat16" if used else "float32"
