"""What users hand to `predict`, brought to three forms: bytes of an image file, array, or row."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.csv_rows import read_rows
from serving.errors import InvalidInputError
from serving.tables import Row, TextRow

# A path (or its text) of an image file or of a CSV file, the bytes of an image file, an array that
# is the model's input, or a row of a table.
ExampleLike = str | Path | bytes | NDArray[Any] | Mapping[str, Any]
Example = bytes | NDArray[Any] | Row


def read_examples(inputs: ExampleLike | Iterable[ExampleLike]) -> list[Example]:
    """One or several inputs as a list; a CSV file is as many examples as it has rows.

    Raises:
        InvalidInputError: none, a file that cannot be read, or an input of another type.
    """
    if isinstance(inputs, (str, Path, bytes, np.ndarray, Mapping)):
        inputs = [inputs]
    examples: list[Example] = []
    for index, example in enumerate(inputs):
        examples += _read(example, f"inputs[{index}]")
    if not examples:
        raise InvalidInputError("inputs", expected="one or more examples", got="none")
    return examples


def _read(example: ExampleLike, field: str) -> list[Example]:
    if isinstance(example, (str, Path)):
        path = Path(example)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidInputError(
                field, expected="a readable file", got=f"{example} ({error.strerror})"
            ) from error
        if path.suffix.lower() == ".csv":
            return [*read_rows(content, f"{field} ({path.name})")]
        return [content]
    if isinstance(example, TextRow):
        return [example]
    if isinstance(example, Mapping):
        return [{name: _plain(value) for name, value in example.items()}]
    if isinstance(example, (bytes, np.ndarray)):
        return [example]
    raise InvalidInputError(
        field, expected="a path, bytes, a NumPy array or a dict", got=type(example).__name__
    )


def _plain(value: Any) -> Any:
    """NumPy's numbers and texts as Python's, which every transport takes."""
    return value.item() if isinstance(value, np.generic) else value
