"""What the server does, whatever the protocol: predict, report status, describe signatures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from serving.api.signature import DEFAULT_SIGNATURE, Signature
from serving.api.status import Code, StatusError
from serving.model_server.manager import Manager, ModelRef
from serving.model_server.servable import VersionStatus
from serving.model_server.signature_check import check_feeds, check_fetches

Feeds = Mapping[str, NDArray[Any]]


class SignatureNotFoundError(StatusError):
    """A signature that the model lacks; the message is the one of gRPC, REST has another."""

    def __init__(self, signature_name: str) -> None:
        super().__init__(
            Code.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.'
        )
        self.signature_name = signature_name


@dataclass(frozen=True)
class Prediction:
    """Outputs, with the version and the signature that gave them."""

    outputs: dict[str, NDArray[Any]]
    version: int
    signature_name: str


@dataclass(frozen=True)
class Metadata:
    """The signatures of a version."""

    version: int
    signatures: Mapping[str, Signature]


class Core:
    """Answers requests out of the models that a manager keeps."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def predict(
        self,
        ref: ModelRef,
        signature_name: str,
        read: Callable[[Signature], Feeds],
        output_filter: Sequence[str] = (),
    ) -> Prediction:
        """Run a signature of a model.

        Args:
            ref: which model.
            signature_name: "" for serving_default.
            read: makes the feeds, given the signature of the very version that will run.
            output_filter: names of the outputs to answer; none: all.

        Raises:
            StatusError: NOT_FOUND, FAILED_PRECONDITION (no such signature) or INVALID_ARGUMENT
                (feeds or filter do not match the signature).
        """
        name = signature_name or DEFAULT_SIGNATURE
        with self._manager.servable(ref) as servable:
            engine = servable.engine
            signature = engine.signatures.get(name)
            if signature is None:
                raise SignatureNotFoundError(name)
            fetches = check_fetches(output_filter, signature)
            feeds = read(signature)
            check_feeds(feeds, signature)
            return Prediction(engine.run(name, feeds, fetches), servable.version, name)

    def status(self, ref: ModelRef) -> list[VersionStatus]:
        """Of the versions of a model, the highest first.

        Raises:
            StatusError: NOT_FOUND or INVALID_ARGUMENT.
        """
        return self._manager.statuses(ref)

    def metadata(self, ref: ModelRef) -> Metadata:
        """The signatures of a model.

        Raises:
            StatusError: NOT_FOUND or INVALID_ARGUMENT.
        """
        with self._manager.servable(ref) as servable:
            return Metadata(servable.version, servable.engine.signatures)
