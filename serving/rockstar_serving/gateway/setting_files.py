"""Reads the TOML files that settings name."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rockstar_contract.text_files import read_text

Parsed = TypeVar("Parsed")


class SettingError(ValueError):
    """An invalid setting or a file that it names; the message says which, and what is expected."""


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
