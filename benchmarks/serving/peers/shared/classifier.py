"""Code that all peers share: the engine, the PNG decoder and the format of predictions.

Written as a careful user would: plain pixels scaled to 0…1, and an interpreter for each batch size,
because resizing an interpreter's inputs costs as much as running it.
"""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABELS = tuple("0123456789")
INPUT, OUTPUT, SIGNATURE = "image", "probabilities", "serving_default"
# Number of batch sizes whose interpreters are kept.
MAX_SIZES = 16

Floats = NDArray[np.float32]


class Classifier:
    """The model in a version folder; thread-safe.

    Attributes:
        predict: function from float32 [n, 28, 28, 1] to probabilities, float32 [n, 10].
    """

    predict: Callable[[Floats], Floats]

    def __init__(self, folder: Path, engine: str) -> None:
        """Load the model in an engine, "litert" or "tensorflow"."""
        self.predict = {"litert": _litert, "tensorflow": _tensorflow}[engine](folder)


def from_environment() -> Classifier:
    """Load the model and engine that the benchmark chose."""
    return Classifier(Path(os.environ["BENCHMARK_MODEL"]), os.environ["BENCHMARK_ENGINE"])


def decode(png: bytes) -> Floats:
    """Decode a PNG to float32 [28, 28, 1] in 0…1."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"), np.float32)
    return pixels[:, :, np.newaxis] / np.float32(255)


def predictions(probabilities: Floats) -> list[dict[str, Any]]:
    """The label and all probabilities of each example."""
    return [
        {"label": LABELS[best], "probabilities": row}
        for best, row in zip(probabilities.argmax(axis=1), probabilities.tolist(), strict=True)
    ]


def joined(parts: Sequence[Floats]) -> Floats:
    """Join the examples of several requests to one batch."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def split(rows: Sequence[Any], parts: Sequence[Floats]) -> list[Any]:
    """Split the results of a batch by request."""
    shares, start = [], 0
    for part in parts:
        shares.append(rows[start : start + len(part)])
        start += len(part)
    return shares


def _litert(folder: Path) -> Callable[[Floats], Floats]:
    from ai_edge_litert.interpreter import Interpreter

    content = (folder / "model.tflite").read_bytes()
    lock = threading.Lock()
    runners: OrderedDict[int, Any] = OrderedDict()

    def predict(images: Floats) -> Floats:
        size = len(images)
        with lock:
            if size not in runners:
                if len(runners) == MAX_SIZES:
                    runners.popitem(last=False)
                interpreter = Interpreter(model_content=content, num_threads=1)
                runners[size] = interpreter.get_signature_runner(SIGNATURE)
            runners.move_to_end(size)
            found: Floats = runners[size](**{INPUT: images})[OUTPUT]
            return found

    return predict


def _tensorflow(folder: Path) -> Callable[[Floats], Floats]:
    import tensorflow as tf

    # One thread, because there is one process per core.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[SIGNATURE]

    def predict(images: Floats) -> Floats:
        found: Floats = signature(**{INPUT: tf.constant(images)})[OUTPUT].numpy()
        return found

    # Signatures do not keep their model alive.
    predict.model = loaded  # type: ignore[attr-defined]
    return predict
