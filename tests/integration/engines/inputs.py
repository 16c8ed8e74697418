"""Images and rows for bulk predictions: of mixed sizes, with some that cannot be used."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.images import png


def image(rng: np.random.Generator) -> bytes:
    """A PNG file of one to four rectangles on black."""
    height, width = rng.integers(12, 60, size=2)
    pixels = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 5)):
        top, left = rng.integers(0, height - 4), rng.integers(0, width - 4)
        pixels[top : top + rng.integers(2, 20), left : left + rng.integers(2, 20)] = 255
    return png(pixels)


def write_images(folder: Path, count: int, *, broken: int = 0) -> Path:
    """Write images into subfolders with unusual names; the last ones are not images."""
    rng = np.random.default_rng(1)
    for number in range(count):
        file = folder / f"ünï cödé #{number // 1000}%20" / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        good = number < count - broken
        file.write_bytes(image(rng) if good else b"not an image"[: 1 + number % 12])
    return folder


def write_rows(file: Path, count: int, *, group: int = 300) -> Path:
    """Write rows for the model `price`: numbers, nulls and unknown colors."""
    rng = np.random.default_rng(2)
    widths = rng.normal(1.0, 0.5, count)
    colors = rng.choice(["blue", "red", "white", "pink", ""], count)
    table = pa.table(
        {
            "petal width": pa.array(widths, mask=rng.random(count) < 0.1),
            "color": [color or None for color in colors.tolist()],
        }
    )
    pq.write_table(table, file, row_group_size=group)
    return file
