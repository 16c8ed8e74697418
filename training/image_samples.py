"""Images to check with that a model answers the same wherever it runs."""

import io

import numpy as np
from PIL import Image


def sample_images(shape: tuple[int, ...], count: int) -> tuple[bytes, ...]:
    """Different PNG files: noise, ramps and plain ones, of the model's size and of others.

    Args:
        shape: [h, w, c] of the tensor, c of 1 or 3.
        count: how many; the same ones each time.
    """
    height, width, channels = shape
    random = np.random.default_rng(0)
    files = []
    for number in range(count):
        size = (height, width) if number % 2 else (height + number, width + 2 * number)
        if number % 4 == 3:
            ramp = np.linspace(0, 255, size[0] * size[1] * channels)
            array = ramp.reshape(*size, channels).astype(np.uint8)
        else:
            low, high = sorted(random.integers(0, 256, 2))
            array = random.integers(low, high + 1, (*size, channels)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(array[:, :, 0] if channels == 1 else array).save(file, "PNG")
        files.append(file.getvalue())
    return tuple(files)
