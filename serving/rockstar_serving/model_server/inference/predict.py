"""Predict: run a signature on tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.inference.signature_check import check_fetches, check_inputs
from tfs_api.signature import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Signature,
)
from tfs_api.status import Code, StatusError

Feeds = Mapping[str, NDArray[Any]]


class SignatureNotFoundError(StatusError):
    """A signature that the model lacks; other calls than Predict have another code and message."""

    def __init__(
        self,
        signature_name: str,
        code: Code = Code.FAILED_PRECONDITION,
        message: str = 'Serving signature key "{}" not found.',
    ) -> None:
        super().__init__(code, message.format(signature_name))
        self.signature_name = signature_name


class PredictQuery(msgspec.Struct, frozen=True):
    """What a predict request asks of a model.

    Attributes:
        read: makes the feeds, given the signature of the very version that will run.
        signature_name: "" for serving_default.
        output_filter: names of the outputs to answer; none: all.
        deadline: until when somebody waits.
    """

    read: Callable[[Signature], Feeds]
    signature_name: str = ""
    output_filter: Sequence[str] = ()
    deadline: Deadline = NO_DEADLINE


class Prediction(msgspec.Struct, frozen=True):
    """Outputs, and the signature that gave them."""

    outputs: dict[str, NDArray[Any]]
    signature_name: str


def predict(engine: Engine, query: PredictQuery, *, check_method: bool = False) -> Prediction:
    """Run a signature of a loaded version.

    Args:
        engine: of the version.
        query: what to run.
        check_method: whether only signatures of a method of TensorFlow Serving will do.

    Raises:
        StatusError: FAILED_PRECONDITION (no such signature), INTERNAL (of no known method),
            INVALID_ARGUMENT (names of feeds or filter that the signature lacks) or of the engine.
    """
    name = query.signature_name or DEFAULT_SIGNATURE
    signature = engine.signatures.get(name)
    if signature is None:
        raise SignatureNotFoundError(name)
    if check_method:
        _check_known_method(signature)
    try:
        feeds = query.read(signature)
        check_inputs(feeds, signature)
        fetches = check_fetches(query.output_filter, signature)
    except StatusError:
        if (renamed := _predict_by_other_names(engine, query, name, signature)) is None:
            raise
        return renamed
    if signature.defaults:
        feeds = {**signature.defaults, **feeds}
    return Prediction(engine.run(name, feeds, fetches, query.deadline), name)


def _predict_by_other_names(
    engine: Engine, query: PredictQuery, name: str, signature: Signature
) -> Prediction | None:
    """The prediction for a request that uses other names; None if it uses none of those known."""
    inputs = {spec.tensor: name for name, spec in signature.inputs.items()}
    outputs = {spec.tensor: name for name, spec in signature.outputs.items()}
    for other in signature.other_names:
        try:
            feeds = query.read(other)
            check_inputs(feeds, other)
            fetches = check_fetches(query.output_filter, other)
        except StatusError:
            continue
        own_feeds = {inputs[other.inputs[each].tensor]: feed for each, feed in feeds.items()}
        own_fetches = [outputs[other.outputs[each].tensor] for each in fetches]
        arrays = engine.run(name, own_feeds, own_fetches, query.deadline)
        renamed = zip(fetches, own_fetches, strict=True)
        return Prediction({each: arrays[own] for each, own in renamed}, name)
    return None


def _check_known_method(signature: Signature) -> None:
    known = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if signature.method_name not in known:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(known)}}}. "
            f"Was: {signature.method_name}",
        )
