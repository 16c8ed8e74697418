"""Types of flag values: from the text to the value, or what was expected and what came."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rockstar_serving.model_server.options import ANY_PORT


def port(text: str) -> int | None:
    """A port number; None for 0 (off), ANY_PORT for `auto`."""
    if text == "auto":
        return ANY_PORT
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535 or auto, got {text!r}")
    return int(text) or None


def clamped_count(text: str) -> int:
    """A whole number; less than 0 is 0, as in TensorFlow Serving."""
    return 0 if text.startswith("-") and text[1:].isdecimal() else count(text)


def count(text: str) -> int:
    """A whole number, at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number, at least 1."""
    if count(text) == 0:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text!r}")
    return int(text)


def micros(text: str) -> float:
    """Whole microseconds, as seconds; less than 0 is 0, as in TensorFlow Serving."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise argparse.ArgumentTypeError(f"expected whole microseconds, got {text!r}")
    return max(0, int(text)) / 1e6


def seconds(text: str) -> float:
    """A time in seconds; less than 0 is 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!r}")
    return max(0.0, value)


def fraction(text: str) -> float:
    """A share, from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text!r}")
    return value


def names(text: str) -> frozenset[str]:
    """Names with commas between them; at least one."""
    found = frozenset(name.strip() for name in text.split(",")) - {""}
    if not found:
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return found


def boolean(text: str) -> bool:
    """True or false, in any of the usual spellings."""
    values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}") from None


# Of a flag that is true where its name stands alone: arguments of add_argument().
SWITCH: Mapping[str, Any] = {"type": boolean, "nargs": "?", "const": True, "metavar": "BOOL"}


def channel_arguments(text: str) -> dict[str, int | str]:
    """Arguments of a gRPC channel: `name=value,name=value`; values that are numbers are such."""
    found: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals:
            raise argparse.ArgumentTypeError(f"expected name=value,name=value, got {part!r}")
        found[name] = int(value) if _is_int32(value) else value
    return found


def path(text: str) -> Path | None:
    """A path, or its file:// URL; None for an empty text, with which scripts say there is none."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "file":
        return Path(rest)
    if separator and scheme.isalnum():
        raise argparse.ArgumentTypeError(f"expected a path on this machine, got {text!r}")
    return Path(text) if text else None


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and -(2**31) <= int(text) < 2**31
