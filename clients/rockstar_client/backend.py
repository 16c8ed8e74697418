"""The interface of a model server, implemented by clients, wrappers and test doubles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray

from rockstar_contract.contract import Contract
from tfs_api.messages.inference_pb2 import ClassificationResponse, Input, RegressionResponse
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.status import Code


class Query(msgspec.Struct, frozen=True):
    """One call of a model; each method of a Backend reads the fields that it needs."""

    model: str
    inputs: Mapping[str, NDArray[Any]] = {}  # for predict: by name, each with the batch first
    examples: Input | None = None  # for classify and regress: tf.Examples
    version: int | None = None  # without a version or a label, the newest is called
    label: str | None = None  # selects the version instead; never set both
    signature: str = ""  # empty means the server's default
    outputs: Sequence[str] = ()  # names of the outputs to return; empty means all
    timeout: float | None = None  # seconds; None means the backend's default


class BackendCall(msgspec.Struct, frozen=True):
    """A call of a backend's method, for whoever runs the steps of a prediction to make."""

    method: str
    query: Query

    def __call__(self, backend: Any) -> Any:
        """Make the call."""
        return getattr(backend, self.method)(self.query)


class TensorResponse(msgspec.Struct, frozen=True):
    """The outputs of a predict call by name, and the version that computed them."""

    outputs: dict[str, NDArray[Any]]
    version: int


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version of a model."""

    version: int
    state: str  # START, LOADING, AVAILABLE, UNLOADING or END
    error: str = ""  # of the model server, if the version is not available
    code: Code = Code.OK  # of the error


@dataclass(frozen=True)
class Metadata:
    """The signatures of a version by name, as the model server describes them."""

    version: int
    signatures: Mapping[str, SignatureDef]


class PredictBackend(Protocol):
    """What predictions with a contract need of a model server, or of a model; thread-safe.

    A call that fails raises a `rockstar_client.errors.CallError`.
    """

    def predict(self, query: Query) -> TensorResponse:
        """Run a signature on tensors."""

    def contract(self, query: Query) -> Contract:
        """Read the contract of a version."""


class Backend(PredictBackend, Protocol):
    """A model server; thread-safe."""

    def classify(self, query: Query) -> ClassificationResponse:
        """Classify tf.Examples."""

    def regress(self, query: Query) -> RegressionResponse:
        """Regress tf.Examples."""

    def metadata(self, query: Query) -> Metadata:
        """Read the signatures of a version."""

    def status(self, query: Query) -> list[VersionStatus]:
        """List the versions of a model, newest first, or only the requested one.

        TensorFlow Serving ignores a label here.
        """

    def close(self) -> None:
        """Close the connection."""
