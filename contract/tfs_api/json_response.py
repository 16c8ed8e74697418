"""Tensors to JSON, as TensorFlow Serving's REST API does it (`json_tensor.cc`).

Small answers have its line breaks too, for those who read them. Large ones have no white space.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from tfs_api.json_decimals import decimals
from tfs_api.signature import tensorflow_name
from tfs_api.status import Code, StatusError

# Outputs with such names hold bytes, not text.
BYTES_SUFFIX = "_bytes"
# Answers of at most so many values are small.
SMALL = 256
_SHORT_FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16)


def response(outputs: Mapping[str, NDArray[Any]], *, by_row: bool) -> bytes:
    """The JSON document that answers a request.

    Args:
        outputs: arrays, strings as bytes in arrays of dtype object.
        by_row: answer `predictions`, else `outputs`.

    Raises:
        StatusError: INVALID_ARGUMENT, no outputs, rows asked for and outputs of different or no
            batch size, or numbers that JSON has no words for.
    """
    if not outputs:
        raise _invalid("Cannot convert empty tensor map to JSON")
    arrays = {name: _writable(array) for name, array in outputs.items()}
    if by_row:
        _check_batch(arrays)
    if sum(array.size for array in arrays.values()) <= SMALL:
        values = {name: _plain(name, array) for name, array in arrays.items()}
        return _small_rows(values) if by_row else _small_columns(values)
    return _large_rows(arrays) if by_row else _large_columns(arrays)


def encode(document: Any) -> bytes:
    """A document in one line, with NaN, Infinity and -Infinity as TensorFlow Serving has them.

    Text that came as bytes which are no UTF-8 goes out as these bytes.
    """
    return _bytes(json.dumps(document, ensure_ascii=False))


def encode_lines(document: Any, indent: int) -> bytes:
    """A document with a line for each value."""
    try:
        return msgspec.json.format(encode(document), indent=indent)
    except msgspec.DecodeError:  # NaN, or no UTF-8
        return _bytes(json.dumps(document, ensure_ascii=False, indent=indent))


def _small_rows(values: Mapping[str, Any]) -> bytes:
    if len(values) == 1:
        lines = encode(_single(values))[1:-1]
    else:
        lines = b",".join(map(_row, _rows(values)))
    end = b"\n    " if lines else b""
    return b'{\n    "predictions": [' + lines + end + b"]\n}"


def _row(row: Mapping[str, Any]) -> bytes:
    fields = [encode(name) + b": " + encode(value) for name, value in row.items()]
    lines = b",\n            ".join(fields)
    return b"\n        {\n            " + lines + b"\n        }"


def _small_columns(values: Mapping[str, Any]) -> bytes:
    return encode_lines({"outputs": _single(values)}, indent=4)


def _large_rows(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    if len(arrays) == 1:
        return b'{"predictions":' + _compact(*next(iter(arrays.items()))) + b"}"
    if all(map(_has_json, arrays.values())):
        return orjson.dumps({"predictions": list(_rows(arrays))}, option=orjson.OPT_SERIALIZE_NUMPY)
    values = {name: _plain(name, array) for name, array in arrays.items()}
    return _tight({"predictions": list(_rows(values))})


def _large_columns(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    texts = {name: _compact(name, array) for name, array in arrays.items()}
    if len(texts) == 1:
        return b'{"outputs":' + next(iter(texts.values())) + b"}"
    fields = b",".join(encode(name) + b":" + text for name, text in texts.items())
    return b'{"outputs":{' + fields + b"}}"


def _compact(name: str, array: NDArray[Any]) -> bytes:
    if array.ndim and _has_json(array):
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return _tight(_plain(name, array))


def _has_json(array: NDArray[Any]) -> bool:
    """Whether all values are numbers that JSON has, or booleans."""
    return array.dtype.kind in "biu" or (array.dtype.kind == "f" and bool(np.isfinite(array).all()))


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype in _SHORT_FLOATS:
        array = decimals(array.astype(np.float32, copy=False))
    elif array.size and array.dtype.kind not in "biufOSU":
        raise _invalid(
            f"Failed to write JSON value for tensor type: {tensorflow_name(array.dtype)}"
        )
    return np.ascontiguousarray(array).reshape(array.shape)


def _check_batch(arrays: Mapping[str, NDArray[Any]]) -> None:
    first = None
    for name, array in arrays.items():
        if not array.ndim:
            raise _invalid(
                f"Tensor name: {name} has no shape information ; "
                "ask with 'inputs' for outputs that have no batch dimension"
            )
        first = len(array) if first is None else first
        if len(array) != first:
            raise _invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {first}"
                "; ask with 'inputs' for outputs of several batch sizes"
            )


def _plain(name: str, array: NDArray[Any]) -> Any:
    """Nested lists of what JSON has."""
    if array.dtype.kind not in "OSU":
        return array.tolist()
    texts = np.empty(array.size, dtype=object)
    texts[:] = [_text(name, value) for value in array.ravel().tolist()]
    return texts.reshape(array.shape).tolist()


def _text(name: str, value: bytes | str) -> Any:
    data = value.encode() if isinstance(value, str) else value
    if name.endswith(BYTES_SUFFIX):
        return {"b64": base64.b64encode(data).decode()}
    return data.decode("utf-8", "surrogateescape")


def _rows(values: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for row in zip(*values.values(), strict=True):
        yield dict(zip(values, row, strict=True))


def _single(values: Mapping[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _tight(document: Any) -> bytes:
    return _bytes(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, in an error's text
        return text.encode("utf-8", "replace")


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
