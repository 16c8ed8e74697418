"""Which models to serve, and which of their versions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path


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


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: clients ask for it by this.
        base_path: holds one folder for each version, named by its number.
        policy: which versions are served.
        labels: names that stand for versions.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
