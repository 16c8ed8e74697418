"""JSON values to arrays, by the rules of TensorFlow Serving's `json_tensor.cc`.

Regular arrays are converted as a whole. Where that finds anything wrong, json_check goes through
the values one by one, as TensorFlow Serving does, and says what it says.
"""

import base64
import itertools
from math import prod
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tfs_api.json_document import Array, is_object, plain

# What arrays of JSON numbers become on their way to a tensor of a kind.
_WIDE: dict[str, Any] = {"f": np.float64, "i": np.int64, "u": np.uint64}
_CODES: dict[str, Literal["d", "i", "u"]] = {"f": "d", "i": "i", "u": "u"}
# What JSON writes numbers with, in arrays.
_NUMBERS = b"0123456789+-.eE \t\r\n"
# Lists of fewer values than this are too many to be looked at one by one.
_FEW = 64
_SMALL = (np.int8, np.int16, np.uint8)
# JSON's types that a tensor of a kind takes.
_TAKES = {
    "f": frozenset({int, float}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "b": frozenset({bool}),
    "O": frozenset({str, dict}),
}


def to_array(
    value: Any, dtype: np.dtype[Any], *, quick: bool = True, body: bytes | memoryview | None = None
) -> NDArray[Any] | None:
    """The tensor that a value describes.

    Args:
        value: as json_document.parse() gives it, or a list of such values.
        dtype: of the tensor; object for strings, which become bytes.
        quick: whether arrays of numbers may be read without a Python object for each number. A
            number in a list of its own is then taken for a number: compare how many lists there
            are with list_count().
        body: of the request, where this is its only tensor; it helps with many small lists.

    Returns:
        The tensor, or None where the value describes none of this dtype.
    """
    if quick and kind_of(dtype) in _WIDE:
        if isinstance(value, Array):
            stacked = _from_buffers([value], dtype, body)
            if stacked is not None:
                return stacked.reshape(stacked.shape[1:])
        elif value and isinstance(value, list) and {type(v) for v in value} == {Array}:
            stacked = _from_buffers(value, dtype, body)
            if stacked is not None:
                return stacked
    return _from_lists(
        [plain(v) for v in value] if isinstance(value, list) else plain(value), dtype
    )


def list_count(shape: tuple[int, ...]) -> int:
    """How many lists describe a tensor of a shape."""
    return sum(prod(shape[:level]) for level in range(len(shape)))


def to_bytes(value: Any) -> bytes:
    """The bytes that a text or an object with base64 stands for.

    Raises:
        ValueError: another object, base64 that is none, or half a surrogate pair.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not is_base64(value):
        raise ValueError("no base64")
    text = value["b64"]
    try:
        return _decode(text.encode())
    except ValueError:
        # TensorFlow Serving's decoder skips white space and asks for no padding.
        data = b"".join(text.encode().split()).replace(b".", b"=")
        return _decode(data if b"=" in data else data + b"=" * (-len(data) % 4))


def _decode(data: bytes) -> bytes:
    if len(data) % 4 or data.endswith(b"==="):  # Python ignores too much padding
        raise ValueError("padding")
    return base64.b64decode(data, validate=True)


def is_base64(value: Any) -> bool:
    """Whether an object, as a dictionary, stands for bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def is_named(value: Any) -> bool:
    """Whether a value, as json_document.parse() gives it, holds named inputs."""
    return is_object(value) and not (
        len(value) == 1 and "b64" in value and isinstance(value["b64"], str)
    )


def kind_of(dtype: np.dtype[Any]) -> str:
    """NumPy's kind of a dtype, but bfloat16 is a float, and uint8 is read as int32."""
    if dtype == np.uint8:
        return "i"
    return "f" if dtype == ml_dtypes.bfloat16 else dtype.kind


def in_range(low: int, high: int, dtype: np.dtype[Any]) -> bool:
    """Whether all integers from low to high may be sent for a tensor of a dtype.

    TensorFlow Serving reads the values of its small dtypes as int32, and keeps their low bits.
    """
    limits = np.iinfo(np.int32 if dtype in _SMALL else dtype)
    return limits.min <= low and high <= limits.max


def _from_buffers(
    arrays: list[Array], dtype: np.dtype[Any], body: bytes | memoryview | None
) -> NDArray[Any] | None:
    kind = kind_of(dtype)
    try:
        buffers = _buffers(arrays, kind)
    except (TypeError, ValueError):  # not only such numbers
        return None
    flat = np.frombuffer(buffers[0] if len(buffers) == 1 else b"".join(buffers), _WIDE[kind])
    shape = _shape(arrays[0])
    whole = (len(arrays), *shape)
    if prod(whole) != len(flat):
        return None
    if body is not None and list_count(whole) * _FEW > len(flat):
        regular = bytes(body).translate(None, _NUMBERS).count(_skeleton(shape)) == len(arrays)
    else:
        regular = _is_regular(arrays, shape)
    return _cast(flat.reshape(whole), dtype) if regular else None


def _buffers(arrays: list[Array], kind: str) -> list[Any]:
    return [array.as_buffer(of_type=_CODES[kind]) for array in arrays]


def _shape(array: Array) -> tuple[int, ...]:
    """The shape of a regular array."""
    shape = []
    while isinstance(array, Array):
        shape.append(len(array))
        if not shape[-1]:
            break
        array = array[0]
    return tuple(shape)


def _is_regular(lists: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether all lists have the sizes of a shape; lists in the place of numbers are not seen."""
    for level, size in enumerate(shape):
        if level:
            lists = list(itertools.chain.from_iterable(lists))
        if {type(each) for each in lists} > {Array} or set(map(len, lists)) > {size}:
            return False
    return True


def _skeleton(shape: tuple[int, ...]) -> bytes:
    """The brackets and commas that write an array of a shape."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text


def _from_lists(value: Any, dtype: np.dtype[Any]) -> NDArray[Any] | None:
    shape, values = _flatten(value)
    kind = kind_of(dtype)
    if shape is None or not _TAKES.get(kind, frozenset()).issuperset(map(type, values)):
        return None
    try:
        if kind == "O":
            array = np.empty(len(values), dtype=object)
            array[:] = [to_bytes(each) for each in values]
            return array.reshape(shape)
        return _cast(np.array(values, dtype=_WIDE.get(kind, dtype)).reshape(shape), dtype)
    except (ValueError, OverflowError):  # no base64, or an integer beyond the widest
        return None


def _flatten(value: Any) -> tuple[list[int] | None, list[Any]]:
    """Shape and values of nested lists; no shape where they are not regular."""
    shape: list[int] = []
    level = [value]
    while list in (kinds := set(map(type, level))):
        sizes = set(map(len, level)) if len(kinds) == 1 else set()
        if len(sizes) != 1:
            return None, []
        shape.append(sizes.pop())
        level = list(itertools.chain.from_iterable(level))
    return shape, level


def _cast(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    if kind_of(dtype) in "iu":
        if array.size and not in_range(int(array.min()), int(array.max()), dtype):
            return None
        return array.astype(dtype, copy=False)
    with np.errstate(over="ignore"):  # as in TensorFlow Serving, 1e39 is infinite as a float32
        return array.astype(dtype, copy=False)
