"""Types of flag values: from the text to the value, or what was expected and what came."""

import argparse
from pathlib import Path

from serving.model_server.options import ANY_PORT


def port(text: str) -> int | None:
    """A port number; None for 0 (off), ANY_PORT for `auto`."""
    if text == "auto":
        return ANY_PORT
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535 or auto, got {text!r}")
    return int(text) or None


def count(text: str) -> int:
    """A whole number, at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number, at least 1."""
    if count(text) == 0:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!r}")
    return value


def boolean(text: str) -> bool:
    """True or false, in any of the usual spellings."""
    values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}") from None


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
    """A path; None for an empty text, with which scripts say that there is none."""
    return Path(text) if text else None


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and -(2**31) <= int(text) < 2**31
