"""The held-out images of a trained model as PNG files, with the predictions of training."""

import csv
from pathlib import Path

from rockstar_training.datasets import load
from tests.images import png


def held_out(run: Path) -> tuple[list[bytes], list[str], list[float]]:
    """PNG files, predicted labels and their probabilities, in the order of the record."""
    images = load("digits").images
    with (run / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    files = [png(images[int(row["index"])][:, :, 0]) for row in rows]
    return files, [row["predicted"] for row in rows], [float(row["score"]) for row in rows]
