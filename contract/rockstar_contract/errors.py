"""Errors for invalid inputs, with messages that say how to fix them."""

from collections.abc import Sequence
from typing import Any

# Maximum number of names that a message lists.
MAX_NAMES = 12
# Maximum number of characters of an input in a message.
_LONGEST = 300


class InvalidInputError(ValueError):
    """An invalid input.

    Attributes:
        field: its place, for example "instances[2]".
        expected: the valid input.
        got: the received input.
        hint: how to fix it, or an empty string.
    """

    def __init__(
        self, field: str, *, expected: str, got: str, hint: str = "", summary: str = ""
    ) -> None:
        """Make the message; `summary` replaces "FIELD: expected EXPECTED, got GOT" in it."""
        field, got = _printable(field), _printable(got)
        summary = _printable(summary) or f"{field}: expected {expected}, got {got}"
        super().__init__(f"{summary}; {hint}" if hint else summary)
        self.field = field
        self.expected = expected
        self.got = got
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled by their `args`, which are not the arguments of `__init__`.
        return type(self).__new__, (type(self), *self.args), vars(self)


class TooLargeError(InvalidInputError):
    """An input that exceeds a limit of the service."""


def name_first(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """List names, and count those beyond the first ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def quote_names(names: Sequence[str]) -> str:
    """List names in quotes, and count those beyond the first ones."""
    return name_first([*map(repr, names)])


def _printable(text: str) -> str:
    """Shorten a text with parts of the input, and escape characters that UTF-8 cannot encode."""
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return text.encode("utf-8", "backslashreplace").decode()
