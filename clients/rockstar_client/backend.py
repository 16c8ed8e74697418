"""What callers need of a model server, whichever it is: the seam that tests and wrappers fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray

from rockstar_contract.contract import Contract
from tfs_api.messages.inference_pb2 import (
    ClassificationResponse,
    Input,
    RegressionResponse,
)
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.signature import DEFAULT_SIGNATURE
from tfs_api.status import Code


class TensorResponse(msgspec.Struct, frozen=True):
    """The outputs of a Predict call by name, and the version that answered."""

    outputs: dict[str, NDArray[Any]]
    version: int


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version of a model; `error` is empty where all is well.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: why it is not available, in the model server's words.
        code: of the error.
    """

    version: int
    state: str
    error: str = ""
    code: Code = Code.OK


@dataclass(frozen=True)
class Metadata:
    """The signatures of a version by name, as the model server describes them."""

    version: int
    signatures: Mapping[str, SignatureDef]


class Backend(Protocol):
    """A model server; thread-safe.

    A version is picked by its number or by its label, never by both; by neither it is the newest.
    `timeout` is in seconds; None leaves it to the backend. Every call raises a
    `rockstar_client.errors.CallError` when it fails.
    """

    def predict(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
    ) -> TensorResponse:
        """Run a signature; `outputs` names the ones to send back, none is all."""

    def classify(
        self,
        model: str,
        examples: Input,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
    ) -> ClassificationResponse:
        """The classes of tf.Examples; an empty signature is the server's default one."""

    def regress(
        self,
        model: str,
        examples: Input,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout: float | None = None,
    ) -> RegressionResponse:
        """The numbers for tf.Examples; an empty signature is the server's default one."""

    def contract(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Contract:
        """What a version promises."""

    def metadata(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Metadata:
        """The signatures of a version."""

    def status(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> list[VersionStatus]:
        """The versions of a model, newest first, or just the one of a number.

        TensorFlow Serving ignores a label here.
        """

    def close(self) -> None:
        """Let go of the server."""
