"""Examples to the body of a request for the gateway, and its names for places back to ours."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from urllib3.filepost import encode_multipart_formdata

from rockstar_client.errors import InvalidRequestError
from rockstar_client.examples import Example, NamedExample, UnreadableExampleError
from rockstar_contract.csv_rows import write_rows
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.tables import TextRow

# What the gateway calls the place of an example: in a form, in JSON, in CSV (counted from 1).
_PLACE = re.compile(r"inputs\[(\d+)\] \(\d+\)|instances\[(\d+)\](?:\.b64)?|body row (\d+)")


@dataclass(frozen=True)
class Body:
    """A body and its type."""

    content_type: str
    content: bytes


def encode(examples: Sequence[NamedExample]) -> Body:
    """The body that holds some examples.

    Raises:
        InvalidInputError: rows of a CSV file beside others, or an array of no numbers.
    """
    kinds = {_kind(named.example) for named in examples}
    if kinds == {TextRow}:
        rows = [named.example for named in examples if isinstance(named.example, TextRow)]
        return Body("text/csv", write_rows(rows))
    if TextRow in kinds:
        raise InvalidInputError(
            "inputs", expected="only CSV files or none", got="both", hint="send them one by one"
        )
    if Mapping in kinds:
        # Also what is no JSON, NaN and infinity: the gateway says where they are.
        document = {"instances": [_instance(named.example) for named in examples]}
        return Body("application/json", json.dumps(document, default=_refuse).encode())
    files = [
        (f"inputs[{index}]", (str(index), _file(index, named), "application/octet-stream"))
        for index, named in enumerate(examples)
    ]
    content, content_type = encode_multipart_formdata(files)
    return Body(content_type, content)


def renamed(error: InvalidRequestError, examples: Sequence[NamedExample]) -> InvalidRequestError:
    """An error of the gateway with the caller's name for the place in its body."""
    place = _PLACE.match(error.field)
    if place is None or not error.message.startswith(error.field):
        return error
    file, instance, row = place.groups()
    index = int(row) - 1 if row else int(file or instance)
    if not 0 <= index < len(examples):
        return error
    field = examples[index].field + error.field[place.end() :]
    message = field + error.message[len(error.field) :]
    said = InvalidRequestError(error.code, message, error.request_id)
    return said.about(vars(error) | {"field": field}, index)


def _kind(example: Example) -> type:
    return next((kind for kind in (TextRow, Mapping) if isinstance(example, kind)), bytes)


def _instance(example: Example) -> Any:
    if isinstance(example, bytes):
        return {"b64": base64.b64encode(example).decode()}
    return example if isinstance(example, Mapping) else np.asarray(example).tolist()


def _refuse(value: object) -> str:
    raise InvalidInputError(
        "inputs",
        expected="rows of numbers, texts, dates, true, false and None",
        got=f"a value of type {type(value).__name__}",
    )


def _file(index: int, named: NamedExample) -> bytes:
    if isinstance(named.example, bytes):
        return named.example
    array = np.asarray(named.example)
    stream = io.BytesIO()
    try:
        np.save(stream, array, allow_pickle=False)
    except ValueError as error:
        wrong = InvalidInputError(
            named.field, expected="an array of numbers", got=f"dtype {array.dtype}"
        )
        raise UnreadableExampleError(wrong, index) from error
    return stream.getvalue()
