"""Requests against signatures, before an engine sees them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from serving.api.signature import Signature, dtype_name, shape_text
from serving.api.status import Code, StatusError


def check_feeds(feeds: Mapping[str, NDArray[Any]], signature: Signature) -> None:
    """Pass feeds that have the names, dtypes, ranks and fixed sizes that a signature asks for.

    Raises:
        StatusError: INVALID_ARGUMENT, with the input, what was expected and what came.
    """
    _check_names(feeds, signature)
    for name, array in feeds.items():
        spec = signature.inputs[name]
        if array.dtype != spec.dtype or not spec.fits(array.shape):
            raise _invalid(
                f"input {name!r}: expected {spec}, got {dtype_name(array.dtype)} of shape "
                f"{shape_text(array.shape)}"
            )


def check_fetches(output_filter: Sequence[str], signature: Signature) -> list[str]:
    """The outputs to answer: those of the filter, or all without one.

    Raises:
        StatusError: INVALID_ARGUMENT, an unknown output or one named twice.
    """
    for name in output_filter:
        if name not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if output_filter.count(name) > 1:
            raise _invalid(f"duplicate output tensor alias: {name}")
    return list(output_filter or signature.outputs)


def _check_names(feeds: Mapping[str, NDArray[Any]], signature: Signature) -> None:
    """Pass feeds of all inputs but those that have defaults; texts as in TensorFlow Serving."""
    if feeds.keys() == signature.inputs.keys():
        return
    sent, wanted, optional = set(feeds), set(signature.inputs), set(signature.defaults)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not optional):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_set(sent)}) != len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. "
            f"Missing but required: {_set(wanted - sent)}."
        )
    for name in sorted(wanted - sent - optional):
        raise _invalid(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].tensor}) not found "
            "in request and no default value provided. Inputs expected to be in the request "
            f"{_set(sent)}, or default input alias set: {','.join(sorted(optional))}"
        )
    if sent - wanted:
        raise _invalid(
            "Inputs contains invalid name. Used request inputs: "
            f"{','.join(sorted(sent & wanted))}, request input: {','.join(sorted(sent))}"
        )


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
