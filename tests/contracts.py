"""Contracts for tests that need no trained model."""

from typing import Any

import msgspec

from rockstar_contract.contract import Contract, DataSet, ImageInput, Statistics, utc_now
from rockstar_contract.preprocessing import (
    Centre,
    CropToContent,
    Fit,
    Grey,
    InvertIfLight,
    Scale,
    StretchContrast,
)

STEPS = (
    Grey(),
    Scale(),
    StretchContrast(),
    InvertIfLight(),
    CropToContent(threshold=0.1),
    Fit(height=6, width=6),
    Centre(height=8, width=8),
)
LABELS = ("zero", "one", "two", "three")


def make_contract(**changes: Any) -> Contract:
    """A valid contract of an 8 x 8 gray image classifier with four labels."""
    contract = Contract(
        schema_version=1,
        model="toy",
        version=1,
        task="classification",
        input=ImageInput(
            name="image",
            dtype="float32",
            shape=(8, 8, 1),
            range=(0.0, 1.0),
            preprocessing=STEPS,
        ),
        labels=LABELS,
        metrics={"test_accuracy": 0.5},
        data_set=DataSet(name="toys", examples=100, sha256="0" * 64),
        statistics=Statistics(
            examples=80,
            mean=0.5,
            std=0.25,
            minimum=0.0,
            maximum=1.0,
            histogram=(0.1,) * 10,
            label_share=(0.25,) * 4,
        ),
        created=utc_now(),
        producer="tests",
    )
    return msgspec.structs.replace(contract, **changes)
