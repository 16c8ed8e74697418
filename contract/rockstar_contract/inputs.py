"""One example, in any form that callers send, to the tensor that a contract asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Encoded, ImageInput, Input, TableInput, TensorInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.images import decode_image
from rockstar_contract.limits import DEFAULT_MAX_PIXELS
from rockstar_contract.nested_lists import leaf_types
from rockstar_contract.preprocessing import preprocess
from rockstar_contract.tables import Adjustments, Row, encode_row, listed

# An encoded image, a row of a table, or an array that already is what the model takes.
Example = bytes | Row | NDArray[Any] | Sequence[Any]
_LARGEST = float(np.finfo(np.float32).max)
# How far values may leave their range, as a share of it: by rounding in float32, and no more.
_ROUNDING = 1e-5


def prepare(
    example: Example,
    spec: Input,
    *,
    field: str,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    strict: bool = False,
    adjusted: Adjustments | None = None,
) -> NDArray[np.float32]:
    """The model's input for one example.

    Args:
        example: bytes of an image file or a row by column names, which go through the contract's
            preprocessing; or numbers, nested or as an array, which must be the tensor itself: float
            [h, w, c], or [h, w] where there is one channel; for tables float [width].
        spec: what the model takes.
        field: what errors call it.
        max_pixels: largest image that is decoded.
        strict: of rows, whether missing values, unknown categories and other columns are errors.
        adjusted: gets what was imputed and ignored in a row.

    Returns:
        float32 of spec.shape.

    Raises:
        InvalidInputError: not usable; it says why.
    """
    if isinstance(spec, TensorInput):
        raise InvalidInputError(
            field,
            expected="a model that takes an image, a row or one float array",
            got="one that takes tensors by name",
            hint="the gateway's /predict and the tensor APIs (/v1, /v2, gRPC) take those",
        )
    if isinstance(example, bytes):
        return _image(example, spec, field, max_pixels)
    if isinstance(example, Mapping):
        return _row(example, spec, field, strict, adjusted)
    return _checked(_numbers(example, spec, field), spec, field)


def is_batch(array: NDArray[Any], spec: Input) -> bool:
    """Whether an array is several examples, by its shape; the channel may be left out of images."""
    if isinstance(spec, TensorInput) or array.shape == spec.shape:
        return False
    without_channel = len(spec.shape) > 1 and array.shape[1:] == spec.shape[:-1]
    return array.ndim > len(spec.shape) or without_channel


def _image(data: bytes, spec: Encoded, field: str, max_pixels: int) -> NDArray[np.float32]:
    if isinstance(spec, TableInput):
        raise InvalidInputError(
            field,
            expected=f"a row with the columns {_columns(spec)}",
            got="a file or base64 text, as for an image",
            hint='send {"instances": [{column: value, …}]}, or text/csv with a header',
        )
    tensor = preprocess(decode_image(data, field, max_pixels), spec.preprocessing)
    if tensor.shape != spec.shape:
        raise InvalidInputError(field, expected=_wanted(spec), got=f"shape {list(tensor.shape)}")
    return tensor


def _row(
    row: Row, spec: Encoded, field: str, strict: bool, adjusted: Adjustments | None
) -> NDArray[np.float32]:
    if isinstance(spec, ImageInput):
        raise InvalidInputError(
            field,
            expected=f"an image, or an array: {_wanted(spec)}",
            got=f"a row with the columns {listed([*row])}" if row else "an empty object",
            hint='send the file, or {"instances": [{"b64": text}]}',
        )
    return encode_row(row, spec.columns, field, strict=strict, adjusted=adjusted)


def _numbers(example: NDArray[Any] | Sequence[Any], spec: Encoded, field: str) -> NDArray[Any]:
    if str in leaf_types(example):
        raise InvalidInputError(field, expected=_wanted(spec), got="values of type text")
    try:
        array = np.asarray(example)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            field,
            expected=_wanted(spec),
            got="a ragged array",
            hint="all rows must have the same length",
        ) from error
    if array.dtype.kind not in "iuf":
        raise InvalidInputError(field, expected=_wanted(spec), got=f"values of type {_kind(array)}")
    return array


def _checked(array: NDArray[Any], spec: Encoded, field: str) -> NDArray[np.float32]:
    shape, image = array.shape, isinstance(spec, ImageInput)
    if image and spec.shape[-1] == 1 and shape == spec.shape[:-1]:
        array = array[..., np.newaxis]
    if array.shape != spec.shape:
        raise InvalidInputError(
            field,
            expected=_wanted(spec),
            got=f"shape {list(shape)}",
            hint=f"{'an image file' if image else 'an object of columns'} is prepared for you, an "
            "array is taken as it is",
        )
    # float32 itself is the limit where there is no other.
    low, high = spec.range if isinstance(spec, ImageInput) else (-_LARGEST, _LARGEST)
    rounding = _ROUNDING * (high - low) if image else 0.0
    lowest, highest = array.min(), array.max()
    # Written so that NaN fails too; checked before the cast, which could overflow.
    if not (low - rounding <= lowest and highest <= high + rounding):
        finite = np.isfinite(array).all()
        raise InvalidInputError(
            field,
            expected=f"values from {low:g} to {high:g}",
            got=f"{lowest:g} to {highest:g}" if finite else "NaN or infinity",
            hint="divide 8-bit pixels by 255" if image and finite and highest > high else "",
        )
    if lowest < low or highest > high:
        array = array.clip(low, high)
    return array.astype(np.float32)


def _columns(spec: TableInput) -> str:
    return listed([column.name for column in spec.columns])


def _wanted(spec: Encoded) -> str:
    return f"{spec.dtype} of shape {list(spec.shape)}"


def _kind(array: NDArray[Any]) -> str:
    names = {"b": "boolean", "U": "text", "S": "bytes", "O": "object", "c": "complex"}
    return names.get(array.dtype.kind, str(array.dtype))
