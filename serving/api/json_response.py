"""Tensors to JSON, as TensorFlow Serving's REST API does it (`json_tensor.cc`)."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from serving.api.status import Code, StatusError

# Outputs with such names hold bytes, not text.
BYTES_SUFFIX = "_bytes"
_SHORT_FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16)


def response(outputs: Mapping[str, NDArray[Any]], *, by_row: bool) -> bytes:
    """The JSON document that answers a request.

    Args:
        outputs: arrays, strings as bytes in arrays of dtype object.
        by_row: answer `predictions`, else `outputs`.

    Raises:
        StatusError: INVALID_ARGUMENT, rows asked for and outputs of different or no batch size, or
            text that is not UTF-8 in an output whose name does not end in `_bytes`.
    """
    values = {name: _plain(name, array) for name, array in outputs.items()}
    if not by_row:
        return encode({"outputs": _single(values)})
    sizes = {array.shape[:1] for array in outputs.values()}
    if len(sizes) != 1 or sizes == {()}:
        raise _invalid(
            "Tensors of one batch size are needed for 'predictions', got shapes "
            + ", ".join(f"{name}: {list(array.shape)}" for name, array in sorted(outputs.items()))
            + "; ask with 'inputs' for whole tensors"
        )
    if len(values) == 1:
        return encode({"predictions": _single(values)})
    rows = zip(*values.values(), strict=True)
    return encode({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})


def encode(document: Any) -> bytes:
    """A document as JSON, with the tokens NaN, Infinity and -Infinity as TensorFlow Serving."""
    text = json.dumps(document, separators=(", ", ": "), ensure_ascii=False)
    return text.encode("utf-8", "replace")  # a request's lone surrogates may be in an error's text


def _plain(name: str, array: NDArray[Any]) -> Any:
    """Nested lists of what JSON has."""
    if array.dtype.kind in "OSU":
        texts = np.empty(array.size, dtype=object)
        texts[:] = [_text(name, value) for value in array.ravel().tolist()]
        return texts.reshape(array.shape).tolist()
    if array.dtype in _SHORT_FLOATS:
        return _decimals(array.astype(np.float32)).tolist()
    if array.dtype.kind == "c":
        raise StatusError(Code.UNIMPLEMENTED, f"output {name!r}: complex numbers have no JSON")
    return array.tolist()


def _decimals(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Doubles that print as 0.2, not as 0.20000000298023224, and read back as the same float32.

    As TensorFlow Serving: six digits where they suffice, else nine.
    """
    exact = values.ravel().tolist()
    decimals = np.array([float(f"{value:.6g}") for value in exact], dtype=np.float64)
    with np.errstate(over="ignore"):
        lossy = np.flatnonzero(decimals.astype(np.float32) != values.ravel())
    decimals[lossy] = [float(f"{exact[index]:.9g}") for index in lossy]
    return decimals.reshape(values.shape)


def _text(name: str, value: bytes | str) -> Any:
    data = value.encode() if isinstance(value, str) else value
    if name.endswith(BYTES_SUFFIX):
        return {"b64": base64.b64encode(data).decode()}
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _invalid(
            f"output {name!r} is not UTF-8 text; binary outputs need a name that ends in "
            f"{BYTES_SUFFIX!r}, or ask over gRPC"
        ) from error


def _single(values: dict[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
