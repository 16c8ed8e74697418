"""Data sets in files, prepared for training."""

import csv
from pathlib import Path
from typing import Any

from rockstar_training.config import config_for
from rockstar_training.prepared_data import PreparedData, prepare_data


def write_csv(path: Path, names: Any, rows: Any) -> str:
    """Write a table; return its name for --data."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return f"csv:{path}"


def prepare(data: str, **settings: Any) -> PreparedData:
    """Prepare a data set for a network that can learn labels and numbers."""
    return prepare_data(config_for("mlp", data=data, **settings))
