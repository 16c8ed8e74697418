"""Contracts of table models for tests that need no trained model."""

import msgspec

from rockstar_contract.contract import Contract, TableInput, TargetStatistics
from rockstar_contract.tables import CategoricalColumn, NumericColumn
from tests.contracts import make_contract

COLUMNS = (
    NumericColumn(name="petal width", mean=1.0, scale=0.5, fill=1.0),
    CategoricalColumn(name="color", categories=("blue", "red", "white")),
)
INPUT = TableInput(name="features", dtype="float32", shape=(4,), columns=COLUMNS)
ROW = {"petal width": 2.0, "color": "red"}
# The encoded row.
TENSOR = [2.0, 0.0, 1.0, 0.0]


def table_classifier(**changes) -> Contract:
    return make_contract(input=INPUT, target="species", **changes)


def regression(**changes) -> Contract:
    statistics = msgspec.structs.replace(
        make_contract().training_data[1],
        label_share=(),
        target=TargetStatistics(mean=1.0, std=0.5, minimum=0.0, maximum=2.0),
    )
    return make_contract(
        task="regression",
        input=INPUT,
        labels=(),
        target="price",
        statistics=statistics,
        **changes,
    )
