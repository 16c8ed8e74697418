"""What every client's `predict` returns."""

from dataclasses import dataclass

from serving.labels import Prediction, Value


@dataclass(frozen=True)
class Answer:
    """What a model said of the inputs, in their order.

    Attributes:
        model: its name.
        version: the one that answered.
        predictions: of a classification; empty for a regression.
        values: of a regression; empty for a classification.
    """

    model: str
    version: int
    predictions: tuple[Prediction, ...] = ()
    values: tuple[Value, ...] = ()
