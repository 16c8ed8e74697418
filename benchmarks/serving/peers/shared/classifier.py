"""Code that all peers share: the engine, the decoder, the formats, and the access log.

Written as a careful user would: plain pixels scaled to 0…1, and one interpreter, resized when the
batch size changes. BENCHMARK_EQUAL_WORK=1 adds two things that RockstarTF does by default: the
preprocessing of the model's contract, and an access-log line per request.
"""

import base64
import functools
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABELS = tuple("0123456789")
INPUT, OUTPUT, SIGNATURE = "image", "probabilities", "serving_default"
EQUAL_WORK = bool(os.environ.get("BENCHMARK_EQUAL_WORK"))

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
    return Classifier(_folder(), os.environ["BENCHMARK_ENGINE"])


def decode(png: bytes) -> Floats:
    """Decode a PNG to float32 [28, 28, 1] in 0…1."""
    if EQUAL_WORK:
        return _contract_decoder()(png)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"), np.float32)
    return pixels[:, :, np.newaxis] / np.float32(255)


def decode_body(body: bytes) -> Floats:
    """Decode a PNG, or JSON with arrays ("instances") or PNGs in base64 ("images")."""
    import msgspec

    if body.startswith(b"\x89PNG"):
        return decode(body)[np.newaxis]
    document = msgspec.json.decode(body)
    if "images" in document:
        return np.stack([decode(base64.b64decode(text)) for text in document["images"]])
    return np.asarray(document["instances"], np.float32)


def encode_predictions(probabilities: Floats) -> bytes:
    """Encode predictions as JSON."""
    import msgspec

    return msgspec.json.encode({"predictions": predictions(probabilities)})


def predictions(probabilities: Floats) -> list[dict[str, Any]]:
    """The label and all probabilities of each example."""
    return [
        {"label": LABELS[best], "probabilities": row}
        for best, row in zip(probabilities.argmax(axis=1), probabilities.tolist(), strict=True)
    ]


def joined(parts: Sequence[Floats]) -> Floats:
    """Join the examples of several requests to one batch."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def split(rows: Any, parts: Sequence[Floats]) -> list[Any]:
    """Split the results of a batch by request."""
    shares, start = [], 0
    for part in parts:
        shares.append(rows[start : start + len(part)])
        start += len(part)
    return shares


def log_request(started: float) -> None:
    """Write an access-log line, if the work is to be equal; `started` is of time.perf_counter()."""
    if EQUAL_WORK:
        now, taken = time.strftime("%Y-%m-%dT%H:%M:%S"), 1e3 * (time.perf_counter() - started)
        sys.stderr.write(f'{now} "POST /predict" 200 {taken:.1f} ms\n')


def _folder() -> Path:
    return Path(os.environ["BENCHMARK_MODEL"])


@functools.cache
def _contract_decoder() -> Callable[[bytes], Floats]:
    from rockstar_contract.contract import CONTRACT_FILE, Contract, ImageInput
    from rockstar_contract.images import decode_image
    from rockstar_contract.preprocessing import preprocess

    expected = Contract.from_json((_folder() / CONTRACT_FILE).read_bytes()).input
    assert isinstance(expected, ImageInput)  # noqa: S101
    steps = expected.preprocessing
    return lambda png: preprocess(decode_image(png), steps)


def _litert(folder: Path) -> Callable[[Floats], Floats]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "model.tflite"), num_threads=1)
    runner = interpreter.get_signature_runner(SIGNATURE)
    lock = threading.Lock()

    def predict(images: Floats) -> Floats:
        # The runner resizes the input and allocates tensors when the shape has changed.
        with lock:
            found: Floats = runner(**{INPUT: images})[OUTPUT]
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
