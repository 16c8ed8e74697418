"""The Open Inference Protocol's JSON documents, and its tensors to NumPy and back.

Field names are the protocol's. Optional members may be null: clients send unset ones that way.
"""

from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import leaf_types
from tfs_api.open_inference import (
    DATATYPES,
    check_parameters,
    check_shape,
    datatype,
    dtype_of,
    from_bytes,
    shaped,
)

Parameters = dict[str, Any]

# JSON has no half floats: they need the binary extension.
_BINARY_ONLY = ("FP16", "BF16")
# The JSON types that fit a kind of dtype.
_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


class InputTensor(msgspec.Struct):
    """An input; `data` is flat or nested, or absent if the bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: Any = None


class WantedOutput(msgspec.Struct):
    """An output to return."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct):
    """The body of an inference request."""

    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None
    parameters: Parameters | None = None
    id: str | None = None

    def parameter(self, name: str) -> Any:
        """A parameter of the request; None if it is absent or null."""
        return (self.parameters or {}).get(name)


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """An output with its values flat, in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class InferResponse(msgspec.Struct, omit_defaults=True):
    """The body of an inference response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


def read_inputs(inputs: list[InputTensor], binary: bytes) -> dict[str, NDArray[Any]]:
    """Read the input tensors.

    Args:
        inputs: in the order of the request.
        binary: the bytes that follow the JSON, of inputs with `binary_data_size`, in their order.

    Returns:
        Arrays by name.

    Raises:
        InvalidInputError: one is invalid or named twice, or bytes are left over.
    """
    arrays: dict[str, NDArray[Any]] = {}
    used = 0
    for index, tensor in enumerate(inputs):
        field = f"inputs[{index}]"
        if tensor.name in arrays:
            raise InvalidInputError(
                f"{field}.name", expected="another name", got=repr(tensor.name)[:40]
            )
        check_parameters(list(tensor.parameters or ()), field)
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            if tensor.data is None:
                raise InvalidInputError(
                    f"{field}.data", expected="values, or parameters.binary_data_size", got="none"
                )
            arrays[tensor.name] = from_json(tensor.data, tensor.datatype, tensor.shape, field)
            continue
        left, size_field = len(binary) - used, f"{field}.parameters.binary_data_size"
        if not isinstance(size, int) or not 0 <= size <= left:
            raise InvalidInputError(
                size_field, expected=f"at most the {left} bytes that follow", got=repr(size)[:40]
            )
        data = binary[used : used + size]
        used += size
        arrays[tensor.name] = from_bytes(data, tensor.datatype, tensor.shape, field, size_field)
    if used != len(binary):
        raise InvalidInputError(
            "body",
            expected=f"{used} bytes behind the JSON, as the inputs say",
            got=str(len(binary)),
        )
    return arrays


def from_json(data: Any, name: str, shape: list[int], field: str) -> NDArray[Any]:
    """Convert JSON values, flat or nested and row-major, to an array.

    Args:
        data: the values.
        name: the datatype.
        shape: the shape.
        field: of the tensor, for errors.

    Raises:
        InvalidInputError: unknown datatype, or values that do not match it or the shape.
    """
    dtype = dtype_of(name, field)
    if name in _BINARY_ONLY:
        raise InvalidInputError(
            f"{field}.data",
            expected=f"{name} as binary data",
            got="JSON",
            hint="see parameters.binary_data_size",
        )
    check_shape(shape, field)
    if dtype.kind == "O":
        return shaped(_texts(data, field), shape, f"{field}.data")
    others = leaf_types(data) - _JSON_TYPES[dtype.kind]
    if others:
        names = {bool: "true or false", int: "integers", float: "numbers with a fraction"}
        names |= {str: "text"}
        found = sorted(names.get(kind, "null, lists or objects") for kind in others)
        raise InvalidInputError(f"{field}.data", expected=f"{name} values", got=", ".join(found))
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(data, np.float64 if dtype.kind == "f" else dtype).astype(dtype)
    except OverflowError as error:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
        flat: list[Any] = np.asarray(data, dtype=object).ravel().tolist()
        raise InvalidInputError(
            f"{field}.data",
            expected=f"values from {limits.min} to {limits.max}",
            got=f"{min(flat)} to {max(flat)}",
        ) from error
    except ValueError as error:
        raise InvalidInputError(
            f"{field}.data", expected="a flat or regularly nested array", got="a ragged one"
        ) from error
    return shaped(values.ravel(), shape, f"{field}.data")


def to_json(array: NDArray[Any], field: str) -> list[Any]:
    """Convert an array to flat JSON values.

    Raises:
        InvalidInputError: JSON cannot represent them: half floats, NaN, bytes that are not UTF-8.
    """
    if array.dtype.kind == "O":
        try:
            return [bytes(value).decode() for value in array.ravel()]
        except UnicodeDecodeError:
            _refuse_json(field, "bytes that are no text")
    if array.dtype in (DATATYPES["FP16"], DATATYPES["BF16"]):
        _refuse_json(field, datatype(array.dtype))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        _refuse_json(field, "NaN or infinity")
    values: list[Any] = array.ravel().tolist()
    return values


def _texts(data: Any, field: str) -> NDArray[Any]:
    flat: list[bytes] = []
    level = [data]
    while level:
        item = level.pop()
        if isinstance(item, list):
            level.extend(reversed(item))
        elif isinstance(item, str):
            flat.append(item.encode())
        else:
            raise InvalidInputError(f"{field}.data", expected="texts", got=type(item).__name__)
    return np.array(flat, object)


def _refuse_json(field: str, got: str) -> NoReturn:
    raise InvalidInputError(
        field,
        expected="an output that JSON can hold",
        got=got,
        hint='ask for it with "parameters": {"binary_data": true}',
    )
