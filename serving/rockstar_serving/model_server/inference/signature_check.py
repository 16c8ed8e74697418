"""Requests against signatures, before an engine sees them.

Only names are checked, as in TensorFlow Serving (`predict_util.cc`): the engine checks dtypes, and
the model itself decides which shapes it takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfs_api.signature import Signature
from tfs_api.status import Code, StatusError


def check_inputs(feeds: Mapping[str, Any], signature: Signature) -> None:
    """Pass feeds of all inputs but those that have defaults; texts as in TensorFlow Serving.

    Raises:
        StatusError: INVALID_ARGUMENT, an input is missing or unknown.
    """
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


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
