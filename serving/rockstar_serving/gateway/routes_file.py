"""The routes file: traffic splits, shadows and aliases.

In TOML:

[aliases]
digits = "cnn"
preview = { model = "cnn", label = "canary" }

[models.cnn]
sticky = "X-User-ID"        # requests with the same value get the same version
max_batch = 32              # most examples of several requests in one call
split = [{ label = "stable", weight = 95 }, { label = "canary", weight = 5 }]
shadow = { version = 7, share = 0.1 }
"""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from rockstar_serving.options import SettingError, convert, read_toml

_HEADER = r"^[A-Za-z0-9-]+$"


class Target(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A version, by number or label."""

    version: Annotated[int, Meta(ge=1)] | None = None
    label: Annotated[str, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if (self.version is None) == (self.label is None):
            raise ValueError("give a version or a label")

    def __str__(self) -> str:
        return f"label {self.label}" if self.version is None else f"version {self.version}"


class Arm(Target, frozen=True, kw_only=True):
    """A version of a split; its share of the requests is its weight over the sum of weights."""

    weight: Annotated[float, Meta(gt=0)]


class Shadow(Target, frozen=True, kw_only=True):
    """A version that gets copies of a share of the requests; its responses are only compared."""

    share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class Route(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Routes the requests for a model that name neither a version nor a label.

    Attributes:
        split: the versions that respond; empty is the newest.
        sticky: a header; requests with the same value go to the same version.
        shadow: the version that gets copies.
        max_batch: most examples of several requests in one call.
    """

    split: tuple[Arm, ...] = ()
    sticky: Annotated[str, Meta(pattern=_HEADER)] | None = None
    shadow: Shadow | None = None
    max_batch: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        targets = [str(arm) for arm in self.split]
        if len(set(targets)) != len(targets):
            raise ValueError("split names a version or label twice")
        if self.sticky is not None and not self.split:
            raise ValueError("sticky needs a split")


class Alias(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another name for a model, or for one of its versions or labels."""

    model: Annotated[str, Meta(min_length=1)]
    version: Annotated[int, Meta(ge=1)] | None = None
    label: Annotated[str, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ValueError("give a version or a label, not both")


class Routes(Struct, frozen=True, kw_only=True):
    """The whole file."""

    aliases: dict[str, Alias] = {}
    models: dict[str, Route] = {}


def read_routes(path: Path) -> Routes:
    """Read a routes file; raises SettingError."""
    document = read_toml(path)
    for name, table in document.items():
        if name not in ("aliases", "models"):
            raise SettingError(f"{path}: {name}: expected [aliases] or [models.NAME]")
        if not isinstance(table, dict):
            raise SettingError(f"{path}: {name}: expected a table")
    aliases = {
        name: convert(
            {"model": alias} if isinstance(alias, str) else alias, Alias, f"{path}: aliases.{name}"
        )
        for name, alias in document.get("aliases", {}).items()
    }
    models = {
        name: convert(route, Route, f"{path}: models.{name}")
        for name, route in document.get("models", {}).items()
    }
    for name, alias in aliases.items():
        if name in models:
            raise SettingError(
                f"{path}: aliases.{name}: there is a [models.{name}] too; expected one of them"
            )
        if alias.model in aliases:
            raise SettingError(
                f"{path}: aliases.{name}: expected the name of a model, got the alias {alias.model}"
            )
    return Routes(aliases=aliases, models=models)
