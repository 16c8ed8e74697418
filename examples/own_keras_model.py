"""Serve a Keras model of your own: write its contract, export it, and everything else works.

    python examples/own_keras_model.py mine
    rockstar serve --models mine/models

The network, its training and the data are yours; here a small one learns whether a handwritten digit is
even. What callers send is prepared by the steps in the contract, so training must use the same ones.
"""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from serving.contract import Contract, DataSet, ImageInput, utc_now
from serving.inputs import prepare
from serving.preprocessing import Centre, Fit, Grey, Scale
from training.datasets import load
from training.export import export
from training.input_statistics import input_statistics
from training.prepared import GoldenSamples

LABELS = ("even", "odd")


def main(workdir: Path) -> None:
    """Train, describe, export."""
    steps = (Grey(), Scale(), Fit(height=12, width=12), Centre(height=16, width=16))
    spec = ImageInput(
        name="image", dtype="float32", shape=(16, 16, 1), range=(0.0, 1.0), preprocessing=steps
    )
    digits = load("digits")
    files = [png(image[:, :, 0]) for image in digits.images]
    x = np.stack([prepare(file, spec, field="image") for file in files])
    y = digits.labels % 2
    train, test = slice(0, 1400), slice(1400, None)

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input(spec.shape), keras.layers.Conv2D(32, 5, strides=2, activation="relu"),
         keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[train], y[train], epochs=30, verbose=0)
    accuracy = model.evaluate(x[test], y[test], verbose=0)[1]

    sha256 = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    contract = Contract(
        schema_version=1, model="parity", version=1, task="classification", input=spec, labels=LABELS,
        metrics={"test_accuracy": accuracy}, data_set=DataSet(name="digits", examples=len(x), sha256=sha256),
        statistics=input_statistics(x[train], y[train], len(LABELS), spec), created=utc_now(), producer="me",
    )  # fmt: skip
    golden = GoldenSamples(tuple(files[:32]), x[:32])
    # The variables themselves, not the Keras model: see export.
    variables = [weight.value for weight in model.weights]
    published = export(model, variables, contract, golden, workdir / "models")
    print(f"{published.folder}: {accuracy:.3f} of the held-out digits are right")


def png(pixels: Any) -> bytes:
    """A file as callers will send it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "mine"))
