"""A tiny LiteRT model with two signatures, created once per test session."""

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract
from rockstar_contract.manifest import write_manifest

SIDE, CLASSES = 4, 3
# The `contract` signature returns this; versions differ only in the number.
_DOCUMENT = "toy-0000"


def toy_model(number: int = 0) -> bytes:
    """A model.tflite whose `contract` signature returns `toy-<number>`."""
    return _toy_model().replace(_DOCUMENT.encode(), document(number).encode())


def document(number: int) -> str:
    """The output of the `contract` signature of toy_model(number)."""
    return f"toy-{number:04}"


def write_version(base_path: Path, version: int, content: bytes | None = None) -> Path:
    """A version folder, published in one step; with a manifest, unless the content is given."""
    aside = base_path / f"tmp.{version}"
    aside.mkdir(parents=True)
    (aside / "model.tflite").write_bytes(toy_model(version) if content is None else content)
    if content is None:
        write_manifest(aside)  # without one, a process of its own tries it first
    return aside.rename(base_path / str(version))


def probabilities(images: Any) -> Any:
    """The expected output of the toy model."""
    logits = np.reshape(images, (len(images), SIDE * SIDE)) @ _weights()
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def _weights() -> Any:
    return np.random.default_rng(0).normal(size=(SIDE * SIDE, CLASSES)).astype(np.float32)


@functools.cache
def _toy_model() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        import tensorflow as tf

    weights = tf.constant(_weights())

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 1], name="image")])  # type: ignore[untyped-decorator]
    def predict(image: Any) -> Any:
        logits = tf.reshape(image, [-1, SIDE * SIDE]) @ weights
        return {"probabilities": tf.nn.softmax(logits)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="query")])  # type: ignore[untyped-decorator]
    def contract(query: Any) -> Any:
        return {"contract": tf.fill(tf.shape(query), tf.constant(_DOCUMENT))}

    return converted({"serving_default": predict, "contract": contract})


def write_linear(folder: Path, contract: Contract, weights: NDArray[Any]) -> Path:
    """A version folder FOLDER/MODEL/1 with a contract: its encoded input @ weights, or softmax."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        import tensorflow as tf

    spec = contract.encoded
    features = tf.TensorSpec([None, *spec.shape], name=spec.name)

    @tf.function(input_signature=[features])  # type: ignore[untyped-decorator]
    def predict(features: Any) -> Any:
        outputs = tf.reshape(features, [-1, len(weights)]) @ weights
        softmax = contract.task == "classification"
        return {contract.output: tf.nn.softmax(outputs) if softmax else outputs}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="query")])  # type: ignore[untyped-decorator]
    def answer(query: Any) -> Any:
        return {"contract": tf.fill(tf.shape(query), tf.constant(contract.to_json()))}

    version = folder / contract.model / "1"
    version.mkdir(parents=True)
    content = converted({"serving_default": predict, "contract": answer})
    (version / "model.tflite").write_bytes(content)
    write_manifest(version)
    return version


def converted(signatures: dict[str, Any]) -> bytes:
    """A model.tflite of TensorFlow functions, by signature name."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        import tensorflow as tf

        tf.saved_model.save(tf.Module(), folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        content: bytes = converter.convert()
        return content


KERNEL = np.array([[[[1, -1]]]], np.float32)  # the image, and its negative


@functools.cache
def edge_model() -> bytes:
    """An edge.tflite: [1, 8, 8, 1], a convolution with KERNEL and ReLU, 4 probabilities."""
    import tensorflow as tf

    weights = np.random.default_rng(0).normal(size=(8 * 8 * 2, 4)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 1], name="image")])  # type: ignore[untyped-decorator]
    def predict(image: Any) -> Any:
        with tf.name_scope("toy/relu_1_1"):
            maps = tf.nn.relu(tf.nn.conv2d(image, KERNEL, 1, "SAME"))
        with tf.name_scope("toy/flat_1"):
            flat = tf.reshape(maps, [1, -1])
        return {"probabilities": tf.nn.softmax(flat @ weights)}

    return converted({"serving_default": predict})
