"""Options, each declared once as a field of a dataclass whose docstring is the help text.

The gateway's settings are read from environment variables and command-line options, the model
server's options from TensorFlow Serving's flags. Both parse and check values here. This module also
reads the TOML files that settings name.
"""

import inspect
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from rockstar_contract.text_files import read_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HIDDEN = "(hidden)"

Parsed = TypeVar("Parsed")


class OptionError(Exception):
    """The text of an option is invalid; the message says what is expected."""


class SettingError(ValueError):
    """An invalid setting or a file that it names; the message says which, and what is expected."""


@dataclass(frozen=True)
class Values:
    """The values that an option accepts.

    Attributes:
        expected: description for error messages.
        parse: converts a text; raises ValueError or KeyError for an invalid one, or OptionError
            with a message of its own.
        unit: placeholder for the value in the help.
    """

    expected: str
    parse: Callable[[str], Any]
    unit: str


def number(
    kind: type[int] | type[float],
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> Values:
    """Finite numbers of a type, within limits."""

    def parse(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and least <= value <= most and above < value == kind(value)):
            raise ValueError
        return kind(value)

    limits = {"from": least, "above": above, "to": most}
    words = [f"{word} {limit}" for word, limit in limits.items() if math.isfinite(limit)]
    whole = kind is int
    expected = " ".join(["a whole number" if whole else "a number", *words])
    return Values(expected, parse, "N" if whole else "NUMBER")


def words(
    expected: str = "one or more names with spaces or commas between them",
    is_valid: Callable[[str], object] = bool,
) -> Values:
    """Words separated by spaces or commas, each of which is checked."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(text.replace(",", " ").split())
        for word in found:
            if not is_valid(word):
                raise OptionError(f"expected {expected}, got {word!r}")
        return found

    return Values(expected, parse, "NAME")


def choice(*texts: str) -> Values:
    """One of several texts."""
    return Values(" or ".join(texts), {text: text for text in texts}.__getitem__, "|".join(texts))


_SWITCH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
SWITCH = Values("true or false", lambda text: _SWITCH[text.lower()], "BOOL")
TEXT = Values("text", str, "TEXT")
_OF_TYPE = {bool: SWITCH, str: TEXT, tuple: words()}


@dataclass(frozen=True)
class Option:
    """An option.

    Attributes:
        flag: name on the command line, with underscores.
        values: that it accepts.
        default: value without it; if it is a text, the model server parses it.
        help: what it sets.
        secret: whether its value must not be shown.
        name: of the dataclass field.
    """

    flag: str
    values: Values
    default: Any = None
    help: str = ""
    secret: bool = False
    name: str = ""

    def parse(self, text: str) -> Any:
        """Convert a text to the type of the option; raises OptionError."""
        try:
            return self.values.parse(text)
        except (ValueError, KeyError):
            got = HIDDEN if self.secret else repr(text)
            raise OptionError(f"expected {self.values.expected}, got {got}") from None


def option(
    default: Any,
    values: Values | None = None,
    *,
    flag: str = "",
    flag_default: str | None = None,
    secret: bool = False,
) -> Any:
    """A dataclass field that is an option.

    Args:
        default: of the field, or a function that makes it.
        values: that it accepts; by default those of the type of the default: bool, str or tuple.
        flag: name on the command line, if it is not that of the field.
        flag_default: text of the default on the command line, if it differs from that of the field.
        secret: whether its value must not be shown.
    """
    value = default() if callable(default) else default
    values = values or _OF_TYPE[type(value)]
    on_command_line = value if flag_default is None else flag_default
    metadata = {"option": Option(flag, values, on_command_line, secret=secret)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(kind: "type[DataclassInstance]") -> Iterator[Option]:
    """The options of a dataclass, in the order of its fields, with help from its docstring."""
    attributes = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", attributes, re.MULTILINE)
    texts = {name: " ".join(text.split()) for name, text in entries}
    for each in fields(kind):
        if found := each.metadata.get("option"):
            flag = found.flag or each.name
            yield replace(found, name=each.name, flag=flag, help=texts.get(each.name, ""))


def as_text(value: Any) -> str:
    """A value as it is written on a command line or in an environment file."""
    if isinstance(value, tuple):
        return " ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises SettingError."""
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingError(f"{path} is not TOML: {error}") from error


def convert(value: Any, kind: type[Parsed], place: str) -> Parsed:
    """Convert a value in a file, at a place that errors name; raises SettingError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $")
        raise SettingError(f"{place}{where}: {what[:1].lower()}{what[1:]}") from error
