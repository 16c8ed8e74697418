"""Small data sets: problems that models learn within a moment, and tables in files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from rockstar_training.config import config_for
from rockstar_training.prepared_data import MemoryExamples, Part, PreparedData, Task, prepare_data
from tests.images import png

TASK = Task((6, 6, 1), 3)


def make_part(tensors: Any, targets: Any) -> Part:
    """Examples in memory."""
    examples = MemoryExamples(np.asarray(tensors, np.float32), raw=lambda _: b"")
    return Part(examples, np.arange(len(targets)), targets)


def blobs(count: int, seed: int = 0) -> Part:
    """Images of 6 x 6 with a light left, middle or right, which is the label."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    images = random.uniform(0, 0.6, size=(count, 6, 6, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 0.4
    return make_part(images, labels)


def line() -> Part:
    """The line y = 1 - x at 1, 2, 3 and 4."""
    x = np.array([[1], [2], [3], [4]], np.float32)
    return make_part(x, 1 - x[:, 0])


def write_shades(folder: Path, count: int, shape: tuple[int, ...] = (20, 20), seed: int = 0) -> str:
    """Write a folder of dark and light images; return its name for --data."""
    noise = np.random.default_rng(seed)
    for name, low in (("dark", 0), ("light", 150)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = noise.integers(low, low + 100, shape, dtype=np.uint8)
            (folder / name / f"{number}.png").write_bytes(png(pixels))
    return f"folder:{folder}"


def write_csv(path: Path, names: Any, rows: Any) -> str:
    """Write a table; return its name for --data."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return f"csv:{path}"


def prepare(data: str, **settings: Any) -> PreparedData:
    """Prepare a data set for a network that can learn labels and numbers."""
    return prepare_data(config_for("mlp", data=data, **settings))
