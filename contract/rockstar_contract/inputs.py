"""Examples in any form that callers send, to the arrays that a contract describes."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import (
    Encoded,
    ImageInput,
    Input,
    TableInput,
    TensorInput,
    TensorSpec,
)
from rockstar_contract.csv_rows import SAVE_AS_CSV, spreadsheet_name
from rockstar_contract.errors import MAX_NAMES, InvalidInputError, name_first, quote_names
from rockstar_contract.images import decode_image
from rockstar_contract.limits import DEFAULT_MAX_PIXELS
from rockstar_contract.preprocessing import preprocess
from rockstar_contract.tables import Adjustments, Row, encode_row, names_of

# An encoded image, a row of a table, or an array that the model takes as it is.
Example = bytes | Row | NDArray[Any] | Sequence[Any]
# dtypes of arrays in JSON: TensorFlow's names that NumPy shares, and its strings.
STRING = "string"
DTYPES = (
    *("float32", "float64", "float16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", STRING),
)
_LARGEST = float(np.finfo(np.float32).max)
# How far float32 rounding may take values out of their range, as a share of it.
_ROUNDING = 1e-5
# Values whose types are compared at a time, which takes a few milliseconds.
_AT_ONCE = 100_000


def prepare(
    example: Example,
    spec: Input,
    *,
    field: str,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    strict: bool = False,
    adjusted: Adjustments | None = None,
    reserve: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Convert one example to the input of a model that takes images or rows.

    Args:
        example: an image file as bytes, or a row by column names, both preprocessed as the contract
            says; or numbers, nested or as an array, taken as they are: float [h, w, c], or [h, w]
            if there is one channel; for tables float [width].
        spec: the model's input.
        field: name of the example in errors.
        max_pixels: largest image that is decoded.
        strict: whether missing values, unknown categories and other columns in a row are errors.
        adjusted: records what was imputed and ignored in a row.
        reserve: see decode_image.

    Returns:
        float32 of spec.shape.

    Raises:
        InvalidInputError: the example cannot be used.
    """
    if isinstance(spec, TensorInput):
        raise InvalidInputError(
            field,
            expected="a model that takes an image, a row or one float array",
            got="one that takes tensors by name",
            hint="the gateway's /predict and the tensor APIs (/v1, /v2, gRPC) take those",
        )
    if isinstance(example, bytes):
        if isinstance(spec, TableInput):
            spreadsheet = spreadsheet_name(example)
            hint = 'send {"instances": [{column: value, …}]}, or text/csv with a header'
            raise InvalidInputError(
                field,
                expected=f"a row with the columns {quote_names(names_of(spec.columns))}",
                got=spreadsheet or "a file or base64 text, as for an image",
                hint=SAVE_AS_CSV if spreadsheet else hint,
            )
        pixels = decode_image(example, field, max_pixels, reserve)
        tensor = preprocess(pixels, spec.preprocessing)
        if tensor.shape != spec.shape:
            got = f"shape {list(tensor.shape)}"
            raise InvalidInputError(field, expected=describe(spec), got=got)
        return tensor
    if isinstance(example, Mapping):
        if isinstance(spec, ImageInput):
            row = f"a row with the columns {quote_names([*example])}"
            raise InvalidInputError(
                field,
                expected=f"an image, or an array: {describe(spec)}",
                got=row if example else "an empty object",
                hint='send the file (curl -F image=@seven.png), or {"instances": [{"b64": text}]}',
            )
        return encode_row(example, spec.columns, field, strict=strict, adjusted=adjusted)
    return _float_array(example, spec, field)


def is_batch(example: object, spec: Input) -> TypeGuard[NDArray[Any]]:
    """Whether an example is an array of several, by its shape; images may lack the channel."""
    if not isinstance(example, np.ndarray) or isinstance(spec, TensorInput):
        return False
    without_channel = len(spec.shape) > 1 and example.shape[1:] == spec.shape[:-1]
    return example.shape != spec.shape and (example.ndim > len(spec.shape) or without_channel)


def split_batch(batch: NDArray[Any], field: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Split an array of one or more examples into the field and the array of each."""
    if not len(batch):
        raise InvalidInputError(
            field,
            expected="one or more examples",
            got=f"an empty array of shape {list(batch.shape)}",
        )
    for index, row in enumerate(batch):
        yield f"{field}[{index}]", row


def read_tensors(example: Any, spec: TensorInput, field: str) -> dict[str, NDArray[Any]]:
    """Convert one example, values by input name, to arrays without a batch dimension.

    If there is one input, the example may be its value alone; a single value also fits the shape
    [1]. Raises InvalidInputError if an input is missing or unknown, or its values do not fit.
    """
    if not isinstance(example, Mapping):
        if len(spec.tensors) > 1:
            kinds: dict[type, str] = {bytes: "a file", str: "a text"}
            expected = f"an object with the inputs {_listed(spec)}"
            got = kinds.get(type(example), "one array")
            raise InvalidInputError(field, expected=expected, got=got, hint=_pattern(spec))
        example = {spec.tensors[0].name: example}
    wanted = {tensor.name for tensor in spec.tensors}
    if unknown := [str(name) for name in example if name not in wanted]:
        expected = f"the inputs {_listed(spec)}"
        raise InvalidInputError(field, expected=expected, got=name_first(unknown))
    arrays = {}
    for tensor in spec.tensors:
        place = f"{field}.{tensor.name}"
        if tensor.name not in example:
            hint = _pattern(spec)
            raise InvalidInputError(place, expected=describe(tensor), got="nothing", hint=hint)
        read = _string_array if tensor.dtype == STRING else _number_array
        array = read(example[tensor.name], tensor, place)
        if array.shape == () and tensor.shape == (1,):  # Keras' usual input for one value
            array = array.reshape(1)
        arrays[tensor.name] = array
        if len(array.shape) != len(tensor.shape) or any(
            size not in (None, got) for size, got in zip(tensor.shape, array.shape, strict=True)
        ):
            got, hint = f"shape {list(array.shape)}", _pattern(spec)
            raise InvalidInputError(place, expected=describe(tensor), got=got, hint=hint)
    return arrays


def stack(
    examples: Sequence[Mapping[str, NDArray[Any]]], fields: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Stack one or more examples from `read_tensors`, all of the same shapes, into a batch."""
    batch = {}
    for name, first in examples[0].items():
        for field, example in zip(fields, examples, strict=True):
            if example[name].shape != first.shape:
                raise InvalidInputError(
                    f"{field}.{name}",
                    expected=f"the shape of the first example, {[*first.shape]}",
                    got=f"shape {[*example[name].shape]}",
                    hint="pad the examples, or send them one by one",
                )
        batch[name] = np.stack([example[name] for example in examples])
    return batch


def describe(tensor: TensorSpec | Encoded) -> str:
    """Describe an input or output, such as "int32 of shape [128]", with "any" for any size."""
    shape = ", ".join("any" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.dtype} of shape [{shape}]"


def to_json(array: NDArray[Any]) -> Any:
    """Convert an array to nested lists; bytes become text, or {"b64": …} if they are not UTF-8."""
    if array.dtype.kind not in "OSU":
        return array.astype(np.float64).tolist() if array.dtype.kind == "V" else array.tolist()
    return _texts(array.tolist())


def to_rows(arrays: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Convert arrays by name, each [n, …], to an object of `to_json` values for each of n rows."""
    columns = {name: to_json(array) for name, array in arrays.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def from_json(values: list[Any], dtype: str) -> NDArray[Any]:
    """The inverse of `to_json`: texts become bytes, null becomes NaN.

    A dtype that is not in DTYPES, which JSON does not have, becomes float32. Raises ValueError or
    TypeError if the nested lists are not an array of the dtype.
    """
    if dtype != STRING:
        return np.array(values, dtype if dtype in DTYPES else np.float32)
    array = np.array(values, object)
    flat = [_to_bytes(each, "", "text") for each in array.flat]
    return np.array(flat, object).reshape(array.shape)


def leaf_types(value: Any) -> set[type]:
    """The types of the values at the first depth of nested lists that has other values than lists.

    Check them before converting to numbers: an array of strings uses as much memory for each string
    as for the longest.
    """
    level, kinds = [value], {type(value)}
    while kinds == {list}:
        level = list(chain.from_iterable(level))
        kinds = set()
        for start in range(0, len(level), _AT_ONCE):  # other threads run in between
            kinds.update(map(type, level[start : start + _AT_ONCE]))
    return kinds


def _as_array(value: Any, field: str, spec: TensorSpec | Encoded) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, OverflowError) as error:
        expected, hint = describe(spec), "all rows must have the same length"
        raise InvalidInputError(
            field, expected=expected, got="a ragged array", hint=hint
        ) from error


def _float_array(example: Any, spec: Encoded, field: str) -> NDArray[np.float32]:
    """The float32 array of an example that is not preprocessed."""
    image = isinstance(spec, ImageInput)
    prepared = "an image file" if image else "an object of columns"
    hint = f"{prepared} is prepared for you, an array is taken as it is"
    if str in leaf_types(example):
        raise InvalidInputError(
            field, expected=describe(spec), got="values of type text", hint=hint
        )
    array = _as_array(example, field, spec)
    if array.dtype.kind not in "iuf":
        names = {"b": "boolean", "U": "text", "S": "bytes", "O": "object", "c": "complex"}
        got = f"values of type {names.get(array.dtype.kind, str(array.dtype))}"
        raise InvalidInputError(field, expected=describe(spec), got=got, hint=hint)
    shape = array.shape
    if image and spec.shape[-1] == 1 and shape == spec.shape[:-1]:
        array = array[..., np.newaxis]
    if array.shape != spec.shape:
        if image and shape in (spec.shape[1:], spec.shape[1:-1]):
            hint = "put the array into a list, since the list has an array for each example"
        elif shape[1:] == spec.shape:
            hint = "send one list with all examples, not a list for each"
        got = f"shape {list(shape)}"
        raise InvalidInputError(field, expected=describe(spec), got=got, hint=hint)
    # Tables have no range, but values must fit float32.
    low, high = spec.range if isinstance(spec, ImageInput) else (-_LARGEST, _LARGEST)
    rounding = _ROUNDING * (high - low) if image else 0.0
    lowest, highest = array.min(), array.max()
    # Negated, so that NaN fails too; checked before the cast, which could overflow.
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


def _number_array(value: Any, tensor: TensorSpec, field: str) -> NDArray[Any]:
    """The array of an input of numbers or booleans."""
    if isinstance(value, (bytes, Mapping)) or str in leaf_types([value]):
        raise InvalidInputError(field, expected=describe(tensor), got="text or another type")
    array = _as_array(value, field, tensor)
    dtype = np.dtype(tensor.dtype)
    if not array.size:
        return array.astype(dtype)
    if array.dtype.kind not in ("b" if dtype.kind == "b" else "biuf"):
        raise InvalidInputError(field, expected=describe(tensor), got="values of another type")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        whole = array.dtype.kind in "biu" or bool((array == np.floor(array)).all())
        if not (whole and array.min() >= limits.min and array.max() <= limits.max):
            expected = f"{describe(tensor)}: whole numbers from {limits.min} to {limits.max}"
            got = f"{array.min():g} to {array.max():g}"
            raise InvalidInputError(field, expected=expected, got=got)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInputError(field, expected=describe(tensor), got="NaN or infinity")
    return array.astype(dtype)


def _string_array(value: Any, tensor: TensorSpec, field: str) -> NDArray[Any]:
    """The array of an input of strings."""
    wanted = describe(tensor)
    shape: list[int] = []
    leaves = [value]
    while leaves and isinstance(leaves[0], list):
        shape.append(len(leaves[0]))
        if not all(isinstance(each, list) and len(each) == shape[-1] for each in leaves):
            raise InvalidInputError(field, expected=wanted, got="a ragged array")
        leaves = list(chain.from_iterable(leaves))
    return np.array([_to_bytes(leaf, field, wanted) for leaf in leaves], object).reshape(shape)


def _to_bytes(value: Any, field: str, wanted: str) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytes):
            return value
        if isinstance(value, Mapping) and set(value) == {"b64"} and isinstance(value["b64"], str):
            return base64.b64decode(value["b64"], validate=True)
    except UnicodeEncodeError as error:
        got = "text with an unpaired surrogate"
        raise InvalidInputError(field, expected=wanted, got=got) from error
    except ValueError as error:
        raise InvalidInputError(field, expected="base64 text", got="something else") from error
    raise InvalidInputError(field, expected=wanted, got="values that are not text")


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(each) for each in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _listed(spec: TensorInput) -> str:
    return name_first([f"{tensor.name} ({describe(tensor)})" for tensor in spec.tensors])


def _pattern(spec: TensorInput) -> str:
    """The JSON that fits, such as `send {"instances": [{"ids": […], "text": "…"}]}`."""
    members = []
    for tensor in spec.tensors[:MAX_NAMES]:
        depth = 0 if tensor.shape == (1,) else len(tensor.shape)
        value = '"…"' if tensor.dtype == STRING else "…"
        members.append(f'"{tensor.name}": {"[" * depth}{value}{"]" * depth}')
    return f'send {{"instances": [{{{", ".join(members)}}}]}}'
