"""JSON to tensors, as TensorFlow Serving's REST API does it (`json_tensor.cc`).

A predict body holds `instances`, one element for each example (answered by `predictions`), or
`inputs`, whole tensors (answered by `outputs`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tfs_api.json_check import check, check_rows, invalid, show
from tfs_api.json_document import is_list, is_object, parse, plain
from tfs_api.json_values import is_named, list_count, to_array
from tfs_api.signature import Signature, TensorSpec
from tfs_api.status import StatusError

# Bytes that the processor holds near.
_BLOCK = 2**20

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class JsonRequest:
    """The body of a predict request.

    Attributes:
        signature_name: "" where none is given.
        by_row: it held `instances`, not `inputs`.
        document: its root object.
        body: its text.
    """

    signature_name: str
    by_row: bool
    document: Any
    body: bytes | memoryview


def parse_request(body: bytes | memoryview) -> JsonRequest:
    """Read the body of a predict request, as far as that needs no signature.

    Raises:
        StatusError: INVALID_ARGUMENT, no JSON object, or a signature's name that is no text.
    """
    document = parse(body)
    if not is_object(document):
        raise invalid(f"JSON Value: {show(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {show(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return JsonRequest(name, "instances" in document, document, body)


def feeds(request: JsonRequest, signature: Signature) -> Arrays:
    """The tensors of a request, in the dtypes of the signature; shapes are as sent.

    Raises:
        StatusError: INVALID_ARGUMENT, a signature without inputs, not exactly one of the two forms,
            or values that are no tensor, or of another type; UNIMPLEMENTED, a dtype that JSON has
            no values for.
    """
    if not signature.inputs:
        name = request.signature_name or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    value = _value(request)
    try:
        if request.by_row:
            return _rows(value, signature, request.body)
        return _columns(value, signature, request.body)
    except RecursionError as error:
        raise invalid("JSON Parse error: Nested too deeply at offset: 0") from error


def signature_not_found(name: str) -> StatusError:
    """What is said of a signature that the model lacks."""
    return invalid(f'Serving signature name: "{name}" not found in signature def')


def _value(request: JsonRequest) -> Any:
    document = request.document
    if not request.by_row:
        if "inputs" not in document:
            raise invalid("Missing 'inputs' or 'instances' key")
        return document["inputs"]
    if "inputs" in document:
        raise invalid(
            f"JSON Value: {show(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    instances = document["instances"]
    if not is_list(instances):
        raise invalid(f"JSON Value: {show(document)} Expecting 'instances' to be an list/array")
    if not len(instances):
        raise invalid(f"JSON Value: {show(document)} No values in 'instances' array")
    return instances


def _columns(value: Any, signature: Signature, body: bytes | memoryview) -> Arrays:
    specs = signature.inputs
    if not is_named(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        value = dict.fromkeys(specs, value)
    for name in specs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    arrays = _arrays(value, specs, body)
    if arrays is not None and _holds_lists(
        body, sum(list_count(array.shape) for array in arrays.values())
    ):
        return arrays
    # Lists where numbers are expected, brackets in texts, or inputs that nobody asked for.
    arrays = _arrays(value, specs)
    if arrays is None:
        _check_columns(value, specs)
    return arrays


def _check_columns(values: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> NoReturn:
    for name, spec in specs.items():
        try:
            check(plain(values[name]), spec.dtype)
        except StatusError as error:
            # TensorFlow Serving does not name the input.
            which = f" (input {name!r})" if len(specs) > 1 else ""
            raise StatusError(error.code, error.message + which) from error
    raise invalid(f"expected {_expected(specs)}")


def _rows(instances: Any, signature: Signature, body: bytes | memoryview) -> Arrays:
    specs = signature.inputs
    named = is_named(instances[0])
    if not named and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    split = _split if named else dict.fromkeys
    arrays = _arrays(split(specs, instances), specs, body)
    # The list of instances is one list, though it is the first dimension of each tensor.
    if arrays is not None and _holds_lists(
        body, 1 + sum(list_count(array.shape) - 1 for array in arrays.values())
    ):
        return arrays
    rows = plain(instances)
    arrays = _arrays(split(specs, rows), specs)
    if arrays is None:
        check_rows(rows, {name: spec.dtype for name, spec in specs.items()})
        raise invalid(f"expected {_expected(specs)}")
    return arrays


def _split(specs: Mapping[str, TensorSpec], rows: Any) -> dict[str, Any] | None:
    """The values of each input, row by row; None where a row is not made of just these inputs."""
    if not all(is_named(row) and set(row) == specs.keys() for row in rows):
        return None
    return {name: [row[name] for row in rows] for name in specs}


def _arrays(
    values: Mapping[str, Any] | None,
    specs: Mapping[str, TensorSpec],
    body: bytes | memoryview | None = None,
) -> Arrays | None:
    """The tensors, read quickly if the body is given; None where one of them cannot be read."""
    if values is None:
        return None
    arrays = {}
    for name, spec in specs.items():
        array = to_array(
            values[name],
            spec.dtype,
            quick=body is not None,
            body=body if len(specs) == 1 else None,
        )
        if array is None:
            return None
        arrays[name] = array
    return arrays


def _holds_lists(body: bytes | memoryview, count: int) -> bool:
    """Whether a body holds so many `[`; NumPy counts them several times faster than bytes does."""
    found = 0
    for start in range(0, len(body), _BLOCK):
        block = np.frombuffer(body[start : start + _BLOCK], np.uint8)
        found += int(np.count_nonzero(block == ord("[")))
    return found == count


def _expected(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"input {name!r}: {spec}" for name, spec in specs.items())
