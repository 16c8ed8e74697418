"""What users hand to `predict`, brought to two forms: bytes of an image file, or an array."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInputError

# A path (or its text) of an image file, the bytes of one, or an array that is the model's input.
ExampleLike = str | Path | bytes | NDArray[Any]


def read_examples(inputs: ExampleLike | Iterable[ExampleLike]) -> list[bytes | NDArray[Any]]:
    """One or several inputs as a list.

    Raises:
        InvalidInputError: a file that cannot be read, or an input of another type.
    """
    if isinstance(inputs, (str, Path, bytes, np.ndarray)):
        inputs = [inputs]
    return [_read(example, f"inputs[{index}]") for index, example in enumerate(inputs)]


def _read(example: ExampleLike, field: str) -> bytes | NDArray[Any]:
    if isinstance(example, (str, Path)):
        try:
            return Path(example).read_bytes()
        except OSError as error:
            raise InvalidInputError(
                field, expected="a readable image file", got=f"{example} ({error.strerror})"
            ) from error
    if isinstance(example, (bytes, np.ndarray)):
        return example
    raise InvalidInputError(
        field, expected="a path, bytes or a NumPy array", got=type(example).__name__
    )
