"""The version in a path, which the protocol leaves to be any text."""

from rockstar_contract.errors import InvalidInputError


def version_in_path(text: str | None) -> int | None:
    """The number of a version; None, where the path has none, is the newest.

    Raises:
        InvalidInputError: it is no number of a version.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) < 2**63):
        raise InvalidInputError("version", expected="a whole number from 1", got=repr(text[:40]))
    return int(text)
