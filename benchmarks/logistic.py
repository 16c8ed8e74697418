"""Writes a logistic model, 784 floats to 10 classes, as a SavedModel with a LiteRT file.

    python -m benchmarks.logistic BASE_PATH

It runs in its own process, to keep TensorFlow out of the process that measures.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

PIXELS, CLASSES = 784, 10
INPUT = "image"


def make_logistic(base_path: Path) -> None:
    """Write version 1 of the model, in another process."""
    subprocess.run(
        [sys.executable, "-m", "benchmarks.logistic", str(base_path)],
        check=True,
        capture_output=True,
    )


def _write(version_folder: Path) -> None:
    import tensorflow as tf

    normal = np.random.default_rng(0).normal(scale=0.05, size=(PIXELS, CLASSES))
    weights = tf.constant(normal, tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, PIXELS], name=INPUT)])  # type: ignore[untyped-decorator]
    def predict(image: Any) -> dict[str, Any]:
        return {"probabilities": tf.nn.softmax(image @ weights)}

    tf.saved_model.save(tf.Module(), str(version_folder), signatures={"serving_default": predict})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(version_folder), signature_keys=["serving_default"]
    )
    (version_folder / "model.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    _write(Path(sys.argv[1]) / "1")
