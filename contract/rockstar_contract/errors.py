"""What is wrong with an input, in words that its sender can act on."""

from typing import Any

# As much of an input as an error repeats, in characters.
_LONGEST = 300


class InvalidInputError(ValueError):
    """An input that cannot be used.

    Attributes:
        field: where it was found, for example "instances[2]".
        expected: what would be right.
        got: what came.
        hint: how to mend it, or an empty string.
    """

    def __init__(
        self, field: str, *, expected: str, got: str, hint: str = "", summary: str = ""
    ) -> None:
        """Describe it; a `summary` replaces "FIELD: expected EXPECTED, got GOT" in the message."""
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
    """An input that is larger than this service takes."""


def _printable(text: str) -> str:
    """A text with what a caller sent in it: not too much, and none that UTF-8 cannot hold."""
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return text.encode("utf-8", "backslashreplace").decode()
