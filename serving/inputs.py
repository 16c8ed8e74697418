"""One example, in any form that callers send, to the tensor that a contract asks for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import Input
from serving.errors import InvalidInputError
from serving.images import DEFAULT_MAX_PIXELS, decode_image
from serving.preprocessing import preprocess

# An encoded image, or an array that already is what the model takes.
Example = bytes | NDArray[Any] | Sequence[Any]


def prepare(
    example: Example, spec: Input, *, field: str, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.float32]:
    """The model's input for one example.

    Args:
        example: bytes of an image file, which go through the contract's preprocessing; or numbers,
            nested or as an array, which must be the tensor itself: float [h, w, c], or [h, w] where
            there is one channel.
        spec: what the model takes.
        field: what errors call it.
        max_pixels: largest image that is decoded.

    Returns:
        float32 of spec.shape.

    Raises:
        InvalidInputError: not usable; it says why.
    """
    if isinstance(example, bytes):
        tensor = preprocess(decode_image(example, field, max_pixels), spec.preprocessing)
        if tensor.shape != spec.shape:
            raise InvalidInputError(
                field, expected=_wanted(spec), got=f"shape {list(tensor.shape)}"
            )
        return tensor
    return _checked(_numbers(example, spec, field), spec, field)


def _numbers(example: NDArray[Any] | Sequence[Any], spec: Input, field: str) -> NDArray[Any]:
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


def _checked(array: NDArray[Any], spec: Input, field: str) -> NDArray[np.float32]:
    shape = array.shape
    if spec.shape[-1] == 1 and shape == spec.shape[:-1]:
        array = array[..., np.newaxis]
    if array.shape != spec.shape:
        raise InvalidInputError(
            field,
            expected=_wanted(spec),
            got=f"shape {list(shape)}",
            hint="an image file is resized for you, an array is taken as it is",
        )
    low, high = spec.range
    # Written so that NaN fails too; checked before the cast, which could overflow.
    if not ((array >= low) & (array <= high)).all():
        finite = np.isfinite(array).all()
        raise InvalidInputError(
            field,
            expected=f"values from {low:g} to {high:g}",
            got=f"{array.min():g} to {array.max():g}" if finite else "NaN or infinity",
            hint="divide 8-bit pixels by 255" if finite and array.max() > high else "",
        )
    return array.astype(np.float32)


def _wanted(spec: Input) -> str:
    return f"{spec.dtype} of shape {list(spec.shape)}"


def _kind(array: NDArray[Any]) -> str:
    names = {"b": "boolean", "U": "text", "S": "bytes", "O": "object", "c": "complex"}
    return names.get(array.dtype.kind, str(array.dtype))
