"""What every client's `predict` returns."""

from dataclasses import dataclass

from serving.labels import Prediction


@dataclass(frozen=True)
class Answer:
    """Predictions in the order of the inputs, and the model version that made them."""

    model: str
    version: int
    predictions: tuple[Prediction, ...]
