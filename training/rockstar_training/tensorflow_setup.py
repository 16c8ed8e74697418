"""TensorFlow, imported in one place and quietly: only modules that need it import this one.

Its log goes to the terminal from C++ while it is being imported, so the environment has to say
otherwise before. Whoever sets TF_CPP_MIN_LOG_LEVEL sees as much as they ask for.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOG_LEVEL, _SILENT = "TF_CPP_MIN_LOG_LEVEL", "3"
os.environ.setdefault(_LOG_LEVEL, _SILENT)
# Keras reads it once; everything here needs this one.
os.environ["KERAS_BACKEND"] = "tensorflow"


@contextmanager
def quiet_native_log() -> Iterator[None]:
    """Keep what C++ code logs in the body off the terminal, unless its log was asked for.

    TensorFlow 2.21 while it is imported, the converter and the LiteRT runtime have no setting for
    it. Everything that goes wrong is also raised. File descriptor 2 is the whole process's: nobody
    else should write to it meanwhile.
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

__all__ = [
    "ConverterError",
    "PredictLog",
    "PredictRequest",
    "PredictionLog",
    "SavedModel",
    "Tensor",
    "freeze",
    "keras",
    "make_repeatable",
    "quiet_native_log",
    "tf",
    "write_fingerprint",
]


def make_repeatable(seed: int) -> None:
    """Have everything random in this process start from the seed, and every operation repeat."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
