"""What is wrong with JSON values that are no tensor, in the words of TensorFlow Serving.

The order in which values are looked at is that of its `json_tensor.cc`, so what is found first is
what it finds first.
"""

import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from tfs_api.json_document import plain
from tfs_api.json_values import in_range, is_base64, is_named, kind_of, to_bytes
from tfs_api.signature import tensorflow_name
from tfs_api.status import Code, StatusError

_JSON_TYPES = {
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
    type(None): "Null",
}
_TAKES: dict[str, tuple[type, ...]] = {
    "f": (int, float),
    "i": (int,),
    "u": (int,),
    "b": (bool,),
    "O": (str,),
}
# Values in messages end after so many characters; so does each text in them.
_SHOWN = 256


def check(value: Any, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Go through the values of a tensor.

    Args:
        value: in Python's own types.
        dtype: of the tensor.

    Returns:
        Its shape.

    Raises:
        StatusError: INVALID_ARGUMENT, a value of another type or at another depth; UNIMPLEMENTED, a
            dtype that JSON has no values for.
    """
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    _check_level(value, 0, shape, dtype)
    return tuple(shape)


def check_rows(rows: list[Any], dtypes: Mapping[str, np.dtype[Any]]) -> None:
    """Go through the rows of `instances`.

    Args:
        rows: in Python's own types, at least one.
        dtypes: of the inputs; just one where the rows do not name their values.

    Raises:
        StatusError: INVALID_ARGUMENT, the first row that does not go with those before it.
    """
    named = is_named(rows[0])
    shapes: dict[str, tuple[int, ...]] = {}
    for index, row in enumerate(rows):
        if named != is_named(row):
            found = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {found} at item {index} of input list")
        for name, value in row.items() if named else [(next(iter(dtypes)), row)]:
            try:
                _check_item(name, value, dtypes, shapes)
            except StatusError as error:
                where = f"{index} key: {name}" if named else str(index)
                raise invalid(
                    f"Failed to process element: {where} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from error
        if named and row.keys() != dtypes.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. "
                f"JSON object: {show(row)} keys must be equal to: {','.join(sorted(dtypes))}"
            )


def show(value: Any) -> str:
    """A value for messages, as TensorFlow Serving writes it: only the beginning of a large one."""
    text = ""
    for piece in _pieces(plain(value), "", "\n"):
        if len(text) >= _SHOWN:
            break
        text += piece if len(piece) <= _SHOWN else piece[:_SHOWN] + "..."
    return text


def read_bytes(value: str | dict[str, Any]) -> bytes:
    """The bytes that a text or an object with base64 stands for.

    Raises:
        StatusError: INVALID_ARGUMENT, it stands for none.
    """
    if isinstance(value, dict) and not is_base64(value):
        raise invalid(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    try:
        return to_bytes(value)
    except UnicodeEncodeError as error:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error
    except ValueError as error:
        raise invalid("Unable to base64 decode") from error


def invalid(message: str) -> StatusError:
    """A request that is wrong."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def _pieces(value: Any, before: str, line: str) -> Iterator[str]:
    """A value's text: objects have a line for each member, lists have one line."""
    if isinstance(value, dict) and value:
        yield before + "{"
        comma = ""
        for key, member in value.items():
            yield f"{comma}{line}    {json.dumps(key, ensure_ascii=False)}: "
            yield from _pieces(member, "", line + "    ")
            comma = ","
        yield line + "}"
    elif isinstance(value, list) and value:
        yield before + "["
        for index, item in enumerate(value):
            yield from _pieces(item, ", " if index else "", line + "    ")
        yield "]"
    else:
        yield before + json.dumps(value, ensure_ascii=False)


def _check_item(
    name: str,
    value: Any,
    dtypes: Mapping[str, np.dtype[Any]],
    shapes: dict[str, tuple[int, ...]],
) -> None:
    if name not in dtypes:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape = check(value, dtypes[name])
    first = shapes.setdefault(name, shape)
    if prod(first) != prod(shape):
        raise invalid(f"Expecting tensor size: {prod(first)} but got: {prod(shape)}")
    if first != shape:
        raise invalid(f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}")


def _check_level(value: Any, level: int, shape: list[int], dtype: np.dtype[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise invalid(
                f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        _check_value(value, dtype)
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _check_level(item, level + 1, shape, dtype)


def _check_value(value: Any, dtype: np.dtype[Any]) -> None:
    kind = kind_of(dtype)
    if kind not in _TAKES:
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {show(value)} to type: {tensorflow_name(dtype)}",
        )
    if kind == "O" and isinstance(value, (str, dict)):
        read_bytes(value)
    elif type(value) not in _TAKES[kind] or (kind in "iu" and not in_range(value, value, dtype)):
        raise invalid(
            f"JSON Value: {show(value)} Type: {type_name(value)} is not of expected type: "
            f"{tensorflow_name(dtype)}"
        )


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def type_name(value: Any) -> str:
    """What TensorFlow Serving calls the type of a JSON value."""
    return str(value) if isinstance(value, bool) else _JSON_TYPES[type(value)]
