"""The models to serve, and which of their versions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class ConfigError(Exception):
    """An invalid configuration; the message says where and why."""


@dataclass(frozen=True)
class Latest:
    """Serve the highest versions."""

    count: int = 1

    def choose(self, versions: Collection[int]) -> set[int]:
        """Choose from the existing versions."""
        return set(sorted(versions)[-self.count :])


@dataclass(frozen=True)
class All:
    """Serve every version."""

    def choose(self, versions: Collection[int]) -> set[int]:
        """Choose from the existing versions."""
        return set(versions)


@dataclass(frozen=True)
class Specific:
    """Serve these versions."""

    versions: frozenset[int]

    def choose(self, versions: Collection[int]) -> set[int]:
        """Choose from the existing versions."""
        return set(self.versions) & set(versions)


VersionPolicy = Latest | All | Specific


class Mirrored(Protocol):
    """Keeps local copies of the versions in an object store."""

    @property
    def looked(self) -> bool:
        """Whether it has tried to copy all chosen versions."""
        ...

    @property
    def problem(self) -> str:
        """Why not all of them are copied; "" if they are."""
        ...


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: in requests.
        base_path: holds one folder for each version, named by its number.
        policy: which versions are served.
        labels: names for versions.
        url: of the object store that holds the versions instead; "": none.
        mirror: keeps local copies of these in base_path; None until it is created.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    mirror: Mirrored | None = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """The URL or folder of its versions, for messages."""
        return self.url or str(self.base_path)
