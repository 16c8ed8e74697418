"""Predict: run a signature on tensors.

Only the names of inputs and outputs are checked here, as in TensorFlow Serving (`predict_util.cc`):
the engine checks dtypes, and the model decides which shapes it accepts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine
from tfs_api.messages.prediction_pb2 import PredictRequest
from tfs_api.signature import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Signature,
)
from tfs_api.status import Code, StatusError
from tfs_api.tensors import to_array

Feeds = Mapping[str, NDArray[Any]]

_METHODS = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)


class SignatureNotFoundError(StatusError):
    """The model has no such signature; code and message depend on the call."""

    def __init__(
        self,
        signature_name: str,
        code: Code = Code.FAILED_PRECONDITION,
        message: str = 'Serving signature key "{}" not found.',
    ) -> None:
        super().__init__(code, message.format(signature_name))
        self.signature_name = signature_name


class PredictQuery(msgspec.Struct, frozen=True):
    """A predict request, independent of the protocol.

    Attributes:
        read: makes the feeds, given the signature of the version that will run.
        signature_name: "" for serving_default.
        output_filter: names of the outputs to return; empty: all.
        deadline: until when the caller waits.
    """

    read: Callable[[Signature], Feeds]
    signature_name: str = ""
    output_filter: Sequence[str] = ()
    deadline: Deadline = NO_DEADLINE


class Prediction(msgspec.Struct, frozen=True):
    """The outputs of a signature, by name, and the name of the signature."""

    outputs: dict[str, NDArray[Any]]
    signature_name: str


def predict_query(request: PredictRequest, deadline: Deadline = NO_DEADLINE) -> PredictQuery:
    """Make a query from a message; its tensors are read when the query is run."""

    def read(_: Signature) -> Feeds:
        feeds = {}
        inputs = request.inputs
        for name in inputs:  # items() of a protobuf map takes three times as long
            try:
                feeds[name] = to_array(inputs[name])
            except ValueError as error:
                message = f"tensor parsing error: {name}: {error}"
                raise StatusError(Code.INVALID_ARGUMENT, message) from error
        return feeds

    output_filter = request.output_filter
    return PredictQuery(
        read,
        request.model_spec.signature_name,
        list(output_filter) if output_filter else (),
        deadline,
    )


def predict(engine: Engine, query: PredictQuery, *, check_method: bool = False) -> Prediction:
    """Run a signature of a loaded version.

    Args:
        engine: of the version.
        query: what to run.
        check_method: whether to accept only signatures with a method of TensorFlow Serving.

    Raises:
        StatusError: FAILED_PRECONDITION (no such signature), INTERNAL (its method is unknown),
            INVALID_ARGUMENT (the signature lacks an input or output), or any error of the engine.
    """
    name = query.signature_name or DEFAULT_SIGNATURE
    signature = engine.signatures.get(name)
    if signature is None:
        raise SignatureNotFoundError(name)
    if check_method and signature.method_name not in _METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    try:
        feeds = query.read(signature)
        if feeds.keys() != signature.inputs.keys():
            check_inputs(feeds, signature)
        if query.output_filter:
            check_fetches(query.output_filter, signature)
    except StatusError:
        if (prediction := _predict_by_other_names(engine, query, name, signature)) is None:
            raise
        return prediction
    if signature.defaults:
        feeds = {**signature.defaults, **feeds}
    fetches = list(query.output_filter or signature.outputs)
    return Prediction(engine.run(name, feeds, fetches, query.deadline), name)


def check_inputs(feeds: Mapping[str, Any], signature: Signature) -> None:
    """Check that all inputs are fed, except those with defaults; messages of TensorFlow Serving.

    Raises:
        StatusError: INVALID_ARGUMENT, an input is missing or unknown.
    """
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


def check_fetches(output_filter: Sequence[str], signature: Signature) -> None:
    """Check that a filter names existing outputs, each once.

    Raises:
        StatusError: INVALID_ARGUMENT, an output is unknown or named twice.
    """
    for name in output_filter:
        if name not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {name} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if output_filter.count(name) > 1:
            raise _invalid(f"duplicate output tensor alias: {name}")


def _predict_by_other_names(
    engine: Engine, query: PredictQuery, name: str, signature: Signature
) -> Prediction | None:
    """Predict for a request that uses other known names; None if the names are unknown."""
    inputs = {spec.tensor: name for name, spec in signature.inputs.items()}
    outputs = {spec.tensor: name for name, spec in signature.outputs.items()}
    for other in signature.other_names:
        try:
            feeds = query.read(other)
            check_inputs(feeds, other)
            check_fetches(query.output_filter, other)
        except StatusError:
            continue
        fetches = list(query.output_filter or other.outputs)
        own_feeds = {inputs[other.inputs[each].tensor]: feed for each, feed in feeds.items()}
        own_fetches = [outputs[other.outputs[each].tensor] for each in fetches]
        arrays = engine.run(name, own_feeds, own_fetches, query.deadline)
        renamed = zip(fetches, own_fetches, strict=True)
        return Prediction({each: arrays[own] for each, own in renamed}, name)
    return None


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
