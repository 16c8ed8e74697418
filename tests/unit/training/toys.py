"""A toy model and its contract, small enough to export in a second."""

from pathlib import PurePath
from typing import Any

import numpy as np

from rockstar_contract.contract import SCHEMA_VERSION, Contract, DataSet, utc_now
from rockstar_training import datasets
from rockstar_training.datasets import digits_input, prepare_images
from rockstar_training.prepared_data import GoldenSamples, input_statistics
from tests.images import png

SPEC = digits_input()
CLASSES = 10


def golden(count: int = 5) -> GoldenSamples:
    """The first digits, raw and preprocessed."""
    images = datasets.load("digits").images[:count]
    raw = tuple(png(image[:, :, 0]) for image in images)
    return GoldenSamples(raw, prepare_images(images, SPEC))


def draft(model: str = "toy") -> Contract:
    """A contract for a toy model."""
    dataset = datasets.load("digits")
    tensors = prepare_images(dataset.images[:20], SPEC)
    return Contract(
        schema_version=SCHEMA_VERSION,
        model=model,
        version=1,
        task="classification",
        input=SPEC,
        labels=dataset.label_names,
        metrics={"test_accuracy": 0.5},
        data_set=DataSet(name="digits", examples=1797, sha256=dataset.sha256),
        statistics=input_statistics(tensors, dataset.labels[:20], CLASSES, SPEC),
        created=utc_now(),
        producer="tests",
    )


def plain_model(seed: int = 0) -> tuple[Any, list[Any]]:
    """Softmax regression in plain TensorFlow, and its variables."""
    from rockstar_training.tensorflow_setup import tf

    weights = np.random.default_rng(seed).normal(size=(400, CLASSES)).astype(np.float32)
    variable = tf.Variable(weights, name="weights")

    def predict(image: Any) -> Any:
        return tf.nn.softmax(tf.reshape(image, [-1, 400]) @ variable)

    return predict, [variable]


def model_card(contract: Contract) -> dict[PurePath, str]:
    """A model card for a toy model."""
    path = PurePath("assets.extra/model_card.md")
    return {path: f"# {contract.model} {contract.version}\n"}


def one_number(seed: int = 0) -> tuple[Any, list[Any]]:
    """Linear regression in plain TensorFlow, and its variables."""
    from rockstar_training.tensorflow_setup import tf

    weights = np.random.default_rng(seed).normal(size=(400, 1)).astype(np.float32)
    variable = tf.Variable(weights, name="weights")

    def predict(image: Any) -> Any:
        return tf.reshape(image, [-1, 400]) @ variable

    return predict, [variable]
