"""JSON responses of TensorFlow Serving's REST API (`json_tensor.cc`).

Small responses have the same line breaks, for people who read them. Large ones have no white space.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import orjson
from google.protobuf import json_format
from numpy.typing import NDArray

from tfs_api.messages.prediction_pb2 import SignatureDefMap
from tfs_api.signature import tensorflow_name
from tfs_api.status import Code, invalid

# Outputs whose names end with this hold bytes, not text.
_BYTES_SUFFIX = "_bytes"
# Maximum number of values of a small response.
SMALL = 256
# Powers of ten that doubles represent exactly.
_POWERS = 10.0 ** np.arange(23)
# Separators of JSON without white space.
_TIGHT = (",", ":")
# Fewer values than this are formatted faster one by one.
_FEW = 48
_SHORT_FLOATS = (np.float32, np.float16, ml_dtypes.bfloat16)


def response(outputs: Mapping[str, NDArray[Any]], *, by_row: bool) -> bytes:
    """The response to a predict request.

    Args:
        outputs: arrays, strings as bytes in arrays of dtype object.
        by_row: write `predictions`, a list of rows; else `outputs`.

    Raises:
        StatusError: no outputs, no common batch size of rows, or a dtype that JSON does not have.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    arrays = {name: _writable(array) for name, array in outputs.items()}
    if by_row:
        _check_batch(arrays)
    if sum(array.size for array in arrays.values()) <= SMALL:
        values = {name: _plain(name, array) for name, array in arrays.items()}
        if by_row:
            return _small_rows(values)
        return _encode_lines({"outputs": _single(values)}, indent=4)
    return _large_rows(arrays) if by_row else _large_columns(arrays)


def classification(labels: Sequence[Sequence[str]], scores: NDArray[np.float32]) -> bytes:
    """The response to a classify request: pairs of label and score of [examples, classes]."""
    examples = [
        list(zip(*each, strict=True))
        for each in zip(labels, decimals(scores).tolist(), strict=True)
    ]
    return b'{\n    "results": ' + _encode(examples)[:-1] + b"\n    ]\n}"


def regression(values: NDArray[np.float32]) -> bytes:
    """The response to a regress request: a number for each example."""
    return b'{\n    "results": ' + _encode(decimals(values).tolist()) + b"\n}"


def status_json(versions: Iterable[tuple[int, str, Code, str]]) -> bytes:
    """The response to GetModelStatus, of each version's number, state, error code and message."""
    documents = [
        {
            "version": str(version),
            "state": state,
            "status": {"error_code": code.name, "error_message": message},
        }
        for version, state, code, message in versions
    ]
    return _encode_lines({"model_version_status": documents}, indent=1) + b"\n"


def metadata_json(name: str, version: int, signatures: SignatureDefMap) -> bytes:
    """The response to GetModelMetadata for a version of the model of this name."""
    described = json_format.MessageToDict(
        signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    spec = {"name": name, "signature_name": "", "version": str(version)}
    # TensorFlow Serving concatenates this document from the texts of its parts.
    return b'{\n"model_spec":%b\n,\n"metadata": {"signature_def": %b\n}\n}\n' % (
        _encode_lines(spec, indent=1),
        _encode_lines(described, indent=1),
    )


def error_json(message: str) -> bytes:
    """The response to a request that failed."""
    return b'{\n    "error": ' + _encode(message) + b"\n}"


def decimals(values: NDArray[Any]) -> NDArray[np.float64]:
    """Doubles of float32 that print as 0.2, not 0.20000000298023224, and parse to the same float32.

    TensorFlow Serving writes six digits if they suffice, else nine.
    """
    if values.size < _FEW:
        few = [_written(value) for value in values.ravel().tolist()]
        return np.array(few, dtype=np.float64).reshape(values.shape)
    # A signaling NaN raises the invalid flag in each operation.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exact = values.astype(np.float64).ravel()
        exponents = np.floor(np.log10(np.abs(exact)))
        usual = (exponents >= 8 - 22) & (exponents <= 5 + 22)  # neither 0 nor NaN nor infinite
        powers = np.where(usual, exponents, 0).astype(np.int64)
        short = _rounded(exact, 5 - powers)
        lossy = short.astype(np.float32) != values.ravel()
        short[lossy] = _rounded(exact[lossy], 8 - powers[lossy])
    for index in np.flatnonzero(~usual & np.isfinite(exact) & (exact != 0)):
        short[index] = _written(float(exact[index]))
    return short.reshape(values.shape)


def _small_rows(values: Mapping[str, Any]) -> bytes:
    if len(values) == 1:
        lines = _encode(_single(values))[1:-1]
    else:
        rows = (
            b",\n            ".join(_encode(name) + b": " + _encode(row[name]) for name in row)
            for row in _rows(values)
        )
        start, end = b"\n        {\n            ", b"\n        }"
        lines = b",".join(start + row + end for row in rows)
    end = b"\n    " if lines else b""
    return b'{\n    "predictions": [' + lines + end + b"]\n}"


def _large_rows(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    if len(arrays) == 1:
        return b'{"predictions":' + _compact(*next(iter(arrays.items()))) + b"}"
    if all(map(_has_json, arrays.values())):
        return orjson.dumps({"predictions": list(_rows(arrays))}, option=orjson.OPT_SERIALIZE_NUMPY)
    values = {name: _plain(name, array) for name, array in arrays.items()}
    return _encode({"predictions": list(_rows(values))}, separators=_TIGHT)


def _large_columns(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    texts = {name: _compact(name, array) for name, array in arrays.items()}
    if len(texts) == 1:
        return b'{"outputs":' + next(iter(texts.values())) + b"}"
    fields = b",".join(_encode(name) + b":" + text for name, text in texts.items())
    return b'{"outputs":{' + fields + b"}}"


def _compact(name: str, array: NDArray[Any]) -> bytes:
    if array.ndim and _has_json(array):
        return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    return _encode(_plain(name, array), separators=_TIGHT)


def _has_json(array: NDArray[Any]) -> bool:
    """Whether all values are finite numbers or booleans."""
    return array.dtype.kind in "biu" or (array.dtype.kind == "f" and bool(np.isfinite(array).all()))


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype in _SHORT_FLOATS:
        array = decimals(array.astype(np.float32, copy=False))
    elif array.size and array.dtype.kind not in "biufOSU":
        raise invalid(f"Failed to write JSON value for tensor type: {tensorflow_name(array.dtype)}")
    return np.ascontiguousarray(array).reshape(array.shape)


def _check_batch(arrays: Mapping[str, NDArray[Any]]) -> None:
    first = None
    for name, array in arrays.items():
        if not array.ndim:
            raise invalid(
                f"Tensor name: {name} has no shape information ; "
                "use 'inputs' for outputs that have no batch dimension"
            )
        first = len(array) if first is None else first
        if len(array) != first:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {first}"
                "; use 'inputs' for outputs of several batch sizes"
            )


def _plain(name: str, array: NDArray[Any]) -> Any:
    """Nested lists of values that JSON has."""
    if array.dtype.kind not in "OSU":
        return array.tolist()
    texts = [_text(name, value) for value in array.ravel().tolist()]
    return np.array(texts, object).reshape(array.shape).tolist()


def _text(name: str, value: bytes | str) -> Any:
    data = value.encode() if isinstance(value, str) else value
    if name.endswith(_BYTES_SUFFIX):
        return {"b64": base64.b64encode(data).decode()}
    return data.decode("utf-8", "surrogateescape")


def _encode(document: Any, **layout: Any) -> bytes:
    """Encode with NaN, Infinity and -Infinity, as TensorFlow Serving does.

    Surrogate escapes become the bytes that they stand for, which are not UTF-8.
    """
    text = json.dumps(document, ensure_ascii=False, **layout)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair in the text of an error
        return text.encode("utf-8", "replace")


def _encode_lines(document: Any, indent: int) -> bytes:
    """Encode with a line for each value."""
    try:
        return msgspec.json.format(_encode(document), indent=indent)
    except msgspec.DecodeError:  # NaN, or not UTF-8
        return _encode(document, indent=indent)


def _rows(values: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for row in zip(*values.values(), strict=True):
        yield dict(zip(values, row, strict=True))


def _single(values: Mapping[str, Any]) -> Any:
    return next(iter(values.values())) if len(values) == 1 else values


def _rounded(values: NDArray[np.float64], digits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Round to a number of digits after the point, or, if negative, before it."""
    up, down = _POWERS[np.maximum(digits, 0)], _POWERS[np.maximum(-digits, 0)]
    rounded: NDArray[np.float64] = np.rint(values * up / down) / up * down
    return rounded


def _written(value: float) -> float:
    """The double of one value, see `decimals`."""
    short = float(f"{value:.6g}")
    return short if np.float32(short) == value else float(f"{value:.9g}")
