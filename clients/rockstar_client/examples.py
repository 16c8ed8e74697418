"""The inputs of `predict`, converted to bytes of an image file, an array, or a row."""

import datetime
import decimal
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rockstar_client.errors import UnreadableExampleError, invalid_request
from rockstar_contract.csv_rows import CSV_ENDINGS, read_rows
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.tables import Row, TextRow


class DataFrame(Protocol):
    """A table of pandas, polars or pyarrow; each row is an example."""

    @property
    def columns(self) -> Any:
        """Its columns or their names."""


# The path of an image file or a CSV file, the bytes of an image file, a PIL image, an array that is
# the model's input or a batch of them, or a row of a table.
ExampleLike = str | Path | bytes | Image.Image | NDArray[Any] | Mapping[str, Any]
Inputs = ExampleLike | Iterable[ExampleLike] | DataFrame
Example = bytes | NDArray[Any] | Row


@dataclass(frozen=True)
class NamedExample:
    """An example and its name in errors, for example "inputs[2] (seven.png)"."""

    field: str
    example: Example


def named_examples(inputs: Inputs) -> list[NamedExample]:
    """Read one or several inputs; each row of a CSV file is an example.

    An InvalidInputError for no inputs, a file that cannot be read, or an input of another type.
    """
    examples: list[NamedExample] = []
    for index, example in enumerate(as_examples(inputs)):
        try:
            examples += read_example(example, f"inputs[{index}]")
        except InvalidInputError as error:
            raise UnreadableExampleError(error, len(examples)) from error
    if not examples:
        raise InvalidInputError("inputs", expected="one or more examples", got="none")
    return examples


def as_examples(inputs: Inputs) -> Iterable[ExampleLike]:
    """One or several inputs, or the rows of a DataFrame; an InvalidInputError for another type."""
    if isinstance(inputs, (str, Path, bytes, Image.Image, np.ndarray, Mapping)):
        return [inputs]
    if hasattr(inputs, "columns"):
        return _rows(inputs)
    if not isinstance(inputs, Iterable):
        raise _other_type("inputs", inputs)
    return inputs


def read_example(example: ExampleLike, field: str) -> list[NamedExample]:
    """Read one input, of which a CSV file has several examples; raises InvalidInputError."""
    if isinstance(example, (str, Path)):
        return _read_file(Path(example), field)
    if isinstance(example, Image.Image):
        return [NamedExample(field, _encoded(example, field))]
    if isinstance(example, (bytearray, memoryview)):  # of Spark and PyArrow
        return [NamedExample(field, bytes(example))]
    if isinstance(example, Mapping) and not isinstance(example, TextRow):
        return [NamedExample(field, plain_row(example))]
    if isinstance(example, (bytes, np.ndarray, TextRow)):
        return [NamedExample(field, example)]
    raise _other_type(field, example)


def _read_file(path: Path, field: str) -> list[NamedExample]:
    field = f"{field} ({path.name})"
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # the latter for NUL in a path
        reason = getattr(error, "strerror", None) or error
        got, hint = f"{path} ({reason})", 'a text goes as {"name of the input": text}'
        raise InvalidInputError(field, expected="a readable file", got=got, hint=hint) from error
    if not path.name.lower().endswith(CSV_ENDINGS):
        return [NamedExample(field, content)]
    rows = read_rows(content, field)
    return [NamedExample(f"{field} row {number}", row) for number, row in enumerate(rows, start=1)]


def _encoded(image: Image.Image, field: str) -> bytes:
    """Encode an image as PNG, which keeps its pixels and orientation."""
    stream = io.BytesIO()
    try:
        # Sent once and discarded, so speed matters more than size.
        image.save(stream, "PNG", compress_level=1, exif=image.getexif())
    except OSError as error:
        raise InvalidInputError(
            field,
            expected="an image of a mode that PNG has, such as L, RGB or RGBA",
            got=f"mode {image.mode}",
            hint='convert it: image.convert("RGB")',
        ) from error
    return stream.getvalue()


def _rows(frame: Any) -> list[Mapping[str, Any]]:
    """Read the rows of a table with the method of its library."""
    names = [str(name) for name in getattr(frame, "column_names", frame.columns)]
    if twice := {name for name in names if names.count(name) > 1}:
        got = f"{min(twice)} more than once"
        raise InvalidInputError("inputs", expected="a name for each column", got=got)
    # Of polars, pyarrow and pandas.
    for method, arguments in (("to_dicts", ()), ("to_pylist", ()), ("to_dict", ("records",))):
        if hasattr(frame, method):
            rows: list[Mapping[str, Any]] = getattr(frame, method)(*arguments)
            return rows
    raise _other_type("inputs", frame)


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the cells of a row for every transport: missing values to None, dates to ISO 8601."""
    return {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if _is_missing(value):
        return None
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value


def _is_missing(value: Any) -> bool:
    try:
        return bool(value != value)  # NaN and NaT
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"  # pandas: neither true nor false


def _other_type(field: str, got: object) -> InvalidInputError:
    row = hasattr(got, "to_dict")
    return InvalidInputError(
        field,
        expected="a path, bytes, a PIL image, a NumPy array, a dict or a DataFrame",
        got=type(got).__name__,
        hint="pass a row of a DataFrame as row.to_dict()" if row else "",
    )


def require_clear(model: str, version: int | None, label: str | None, top: int = 1) -> None:
    """Raise an InvalidRequestError without a model, for a version and a label, or `top` below 1."""
    error = None
    if not isinstance(model, str) or not model:
        error = InvalidInputError("model", expected="the name of a model", got=repr(model))
    elif version is not None and label is not None:
        error = InvalidInputError("version", expected="a version or a label", got="both")
    elif top < 1:
        error = InvalidInputError("top", expected="1 or more", got=str(top))
    if error is not None:
        raise invalid_request(error)
