"""Settings from the environment (ROCKSTAR_*) and the command line, each checked by itself.

Flask's own loader reads the environment; an option of the command line goes before it.
"""

import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

import msgspec

from rockstar_serving.gateway.config import GatewayConfig

PREFIX = "ROCKSTAR"
# Variables of the other rooms: known, though not to a gateway.
_OTHERS = ("API_KEY", "DATA_DIR", "DEBUG", "URL")
# What Kubernetes sets in every container for a service whose name starts with "rockstar", as in
# ROCKSTAR_GATEWAY_SERVICE_HOST=10.0.0.1 and ROCKSTAR_GATEWAY_PORT=tcp://10.0.0.1:8080.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)\w*=.*)"
)
_HIDDEN = "(hidden)"


class SettingError(ValueError):
    """A setting that is unknown or cannot be used; the message names it and says what would do."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: the field of GatewayConfig.
        type: what a value is converted to, limits included.
        meta: limits and description.
        default: its value where nobody says.
    """

    name: str
    type: Any
    meta: msgspec.Meta
    default: Any

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"{PREFIX}_{self.name.upper()}"

    @property
    def option(self) -> str:
        """Its option on the command line."""
        option: str = (self.meta.extra or {}).get("option", f"--{self.name.replace('_', '-')}")
        return option

    @property
    def base(self) -> Any:
        """The bare type: int, float, bool, str or tuple[str, ...]."""
        return get_args(self.type)[0]

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return bool((self.meta.extra or {}).get("secret"))

    @property
    def expected(self) -> str:
        """What a value must be, for people."""
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        kind = kinds.get(self.base, "one or more names with spaces or commas between them")
        limits = (
            ("from", self.meta.ge),
            ("above", self.meta.gt),
            ("to", self.meta.le),
            ("below", self.meta.lt),
        )
        return " ".join([kind, *(f"{word} {limit}" for word, limit in limits if limit is not None)])

    def convert(self, value: Any, source: str) -> Any:
        """The value that was meant.

        Raises:
            SettingError: it is of another type, or over its limits.
        """
        if self.base == tuple[str, ...]:
            words = [value] if isinstance(value, str) else value
            value = tuple(word for text in words for word in text.replace(",", " ").split())
        try:
            converted = msgspec.convert(value, self.type, strict=False)
        except msgspec.ValidationError:
            converted = math.nan
        if isinstance(converted, float) and not math.isfinite(converted):
            got = _HIDDEN if self.secret else repr(value)
            raise SettingError(f"{source}: expected {self.expected}, got {got}")
        return converted


@dataclass(frozen=True)
class Effective:
    """The value that a setting has, and who said so: "default", a variable or an option."""

    setting: Setting
    value: Any
    source: str


def settings() -> Iterator[Setting]:
    """All settings, in the order of GatewayConfig."""
    hints = get_type_hints(GatewayConfig, include_extras=True)
    for field in fields(GatewayConfig):
        yield Setting(field.name, hints[field.name], get_args(hints[field.name])[1], field.default)


def read_settings(options: Mapping[str, Any]) -> list[Effective]:
    """The settings in effect.

    Args:
        options: of the command line by the names of settings; None or empty is not given.

    Raises:
        SettingError: one is unknown or cannot be used.
    """
    environment = _from_environment()
    known = {setting.name.upper(): setting for setting in settings()}
    for name in sorted(environment.keys() - known.keys() - set(_OTHERS)):
        if not _SERVICE_LINK.fullmatch(f"{name}={environment[name]}"):
            raise SettingError(_unknown(name, [*known, *_OTHERS]))
    return [
        _effective(setting, options.get(setting.name), environment.get(name))
        for name, setting in known.items()
    ]


def shown(effective: list[Effective]) -> str:
    """The settings as lines of an environment file, secrets hidden, each with its source."""
    lines = [f"{each.setting.variable}={_text(each)}" for each in effective]
    width = max(map(len, lines))
    return "\n".join(
        f"{line:{width}}  # {each.source}" for line, each in zip(lines, effective, strict=True)
    )


def documents(effective: list[Effective]) -> list[dict[str, Any]]:
    """The settings as they are printed for programs, secrets hidden."""
    return [
        {
            "name": each.setting.name,
            "variable": each.setting.variable,
            "value": _HIDDEN if each.setting.secret and each.value else each.value,
            "source": each.source,
        }
        for each in effective
    ]


def _from_environment() -> dict[str, str]:
    """The variables that are ours, by the names of settings in capitals."""
    ours = f"{PREFIX}_"
    return {
        name.removeprefix(ours): value
        for name, value in os.environ.items()
        if name.startswith(ours)
    }


def _effective(setting: Setting, option: Any, variable: Any) -> Effective:
    # An empty variable is one that was not set: so shells and Kubernetes write it.
    for given, source in ((option, setting.option), (variable, setting.variable)):
        if given not in (None, (), ""):
            return Effective(setting, setting.convert(given, source), source)
    return Effective(setting, setting.default, "default")


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    meant = f"did you mean {PREFIX}_{nearest[0]}?" if nearest else "see rockstar gateway --help"
    return f"{PREFIX}_{name}: there is no such setting; {meant}"


def _text(each: Effective) -> str:
    if each.setting.secret and each.value:
        return _HIDDEN
    value = " ".join(each.value) if isinstance(each.value, tuple) else each.value
    return str(value).lower() if isinstance(value, bool) else str(value)
