"""Predict: run a signature on tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from serving.api.signature import DEFAULT_SIGNATURE, Signature
from serving.api.status import Code, StatusError
from serving.model_server.deadline import NO_DEADLINE, Deadline
from serving.model_server.engines.engine import Engine
from serving.model_server.inference.signature_check import check_feeds, check_fetches

Feeds = Mapping[str, NDArray[Any]]


class SignatureNotFoundError(StatusError):
    """A signature that the model lacks; the message is the one of gRPC, REST has another."""

    def __init__(self, signature_name: str) -> None:
        super().__init__(
            Code.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.'
        )
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


def predict(engine: Engine, query: PredictQuery) -> Prediction:
    """Run a signature of a loaded version.

    Raises:
        StatusError: FAILED_PRECONDITION (no such signature), INVALID_ARGUMENT (feeds or filter do
            not match the signature) or DEADLINE_EXCEEDED.
    """
    name = query.signature_name or DEFAULT_SIGNATURE
    signature = engine.signatures.get(name)
    if signature is None:
        raise SignatureNotFoundError(name)
    fetches = check_fetches(query.output_filter, signature)
    feeds = query.read(signature)
    check_feeds(feeds, signature)
    return Prediction(engine.run(name, feeds, fetches, query.deadline), name)
