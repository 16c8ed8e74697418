"""What clients tell of models: the same over HTTP and over gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from rockstar_contract.contract import CONTRACT_SIGNATURE, Contract, Task
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.signature import Signature, signature_of


@dataclass(frozen=True)
class ModelVersion:
    """The state of one version.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: why it is not available; empty where it is.
    """

    version: int
    state: str
    error: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """A model that is served; of the newest version that is available what follows the versions.

    Attributes:
        model: its name.
        versions: newest first; empty where the server does not know the model.
        task: what it answers; None where no version is available, or without a contract.
        labels: of a classification, in order.
        target: what a regression predicts.
        metrics: by name.
        created: when.
    """

    model: str
    versions: tuple[ModelVersion, ...]
    task: Task | None = None
    labels: tuple[str, ...] = ()
    target: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    created: datetime | None = None

    @property
    def available(self) -> bool:
        """Whether a version can be asked."""
        return any(version.state == "AVAILABLE" for version in self.versions)


@dataclass(frozen=True)
class ModelMetadata:
    """A version of a model.

    Attributes:
        model: its name.
        version: its number.
        signatures: the functions that can be called, by name.
        contract: labels, input with its preprocessing, metrics, data; None where it carries none.
    """

    model: str
    version: int
    signatures: dict[str, Signature]
    contract: Contract | None


def has_contract(signatures: dict[str, Signature]) -> bool:
    """Whether a model with these signatures can be asked for its contract."""
    return CONTRACT_SIGNATURE in signatures


def signatures_of(messages: Mapping[str, SignatureDef]) -> dict[str, Signature]:
    """The signatures that messages describe, by name.

    Raises:
        ValueError: a default value cannot be read.
    """
    return {name: replace(signature_of(each), message=None) for name, each in messages.items()}
