"""Which models to serve, and which of their versions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class ConfigError(Exception):
    """A configuration that cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Latest:
    """Serve the highest versions."""

    count: int = 1

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve, of those that there are."""
        return set(sorted(versions)[-self.count :])


@dataclass(frozen=True)
class All:
    """Serve every version."""

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve, of those that there are."""
        return set(versions)


@dataclass(frozen=True)
class Specific:
    """Serve these versions."""

    versions: frozenset[int]

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve, of those that there are."""
        return set(self.versions) & set(versions)


VersionPolicy = Latest | All | Specific


class Mirrored(Protocol):
    """What keeps copies of the versions in an object store."""

    @property
    def looked(self) -> bool:
        """Whether it has tried to copy the versions that are to be served."""
        ...

    @property
    def problem(self) -> str:
        """Why not all of them are copied; "" where they are."""
        ...


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: clients ask for it by this.
        base_path: holds one folder for each version, named by its number.
        policy: which versions are served.
        labels: names that stand for versions.
        url: of the object store that holds them instead, if any.
        mirror: keeps local copies of these in base_path, once there is one.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    mirror: Mirrored | None = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """Where its versions are, for messages."""
        return self.url or str(self.base_path)
