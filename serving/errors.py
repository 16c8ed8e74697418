"""What is wrong with an input, in words that its sender can act on."""


class InvalidInputError(ValueError):
    """An input that cannot be used.

    Attributes:
        field: where it was found, for example "instances[2]".
        expected: what would be right.
        got: what came.
        hint: how to mend it, or an empty string.
    """

    def __init__(self, field: str, *, expected: str, got: str, hint: str = "") -> None:
        super().__init__(f"{field}: expected {expected}, got {got}" + (f"; {hint}" if hint else ""))
        self.field = field
        self.expected = expected
        self.got = got
        self.hint = hint


class TooLargeError(InvalidInputError):
    """An input that is larger than this service takes."""
