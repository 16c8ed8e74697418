"""The interface of a model server, implemented by clients, wrappers and test doubles."""

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
    """The outputs of a Predict call by name, and the version that computed them."""

    outputs: dict[str, NDArray[Any]]
    version: int


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version of a model.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: message of the model server if the version is not available; otherwise empty.
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

    Pass a version number or a label, never both; without them the newest version answers.
    `timeout` is in seconds; None means the backend's default. A call that fails raises a
    `rockstar_client.errors.CallError`.
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
        """Run a signature; `outputs` names the outputs to return, none means all."""

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
        """Classify tf.Examples; an empty signature means the server's default."""

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
        """Regress tf.Examples; an empty signature means the server's default."""

    def contract(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Contract:
        """Read the contract of a version."""

    def metadata(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Metadata:
        """Read the signatures of a version."""

    def status(
        self,
        model: str,
        version: int | None = None,
        *,
        label: str | None = None,
        timeout: float | None = None,
    ) -> list[VersionStatus]:
        """List the versions of a model, newest first, or only the given one.

        TensorFlow Serving ignores a label here.
        """

    def close(self) -> None:
        """Close the connection."""
