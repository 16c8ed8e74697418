"""Arguments in a request's URL that several APIs take."""

from flask import request

from serving.errors import InvalidInputError


def argument(name: str) -> str | None:
    """An argument's text; None where it is not there."""
    args = request.args
    # As a rule there are none; asked for one, Werkzeug would raise and catch an error.
    return args.get(name) if args else None


def only(*names: str) -> None:
    """Refuse arguments with other names.

    Raises:
        InvalidInputError: there is one.
    """
    unknown = sorted(request.args.keys() - set(names))
    if unknown:
        raise InvalidInputError(unknown[0], expected=" or ".join(names), got=unknown[0])


def positive(name: str) -> int | None:
    """A whole number from 1, if the argument is there.

    Raises:
        InvalidInputError: it is something else.
    """
    text = argument(name)
    if text is None:
        return None
    # isdecimal alone would let other scripts' digits by; a version is an int64 on the wire.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 1 <= int(text) < 2**63):
        raise InvalidInputError(name, expected="a whole number from 1", got=repr(text[:40]))
    return int(text)


def share(name: str) -> float | None:
    """A number from 0 to 1, if the argument is there.

    Raises:
        InvalidInputError: it is something else.
    """
    text = argument(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InvalidInputError(name, expected="a number from 0 to 1", got=repr(text[:40]))
    return value


def flag(name: str) -> bool:
    """Whether an argument is `true`; absent or `false` it is not.

    Raises:
        InvalidInputError: it is something else.
    """
    given = argument(name)
    text = "false" if given is None else given.lower()
    if text not in ("true", "false"):
        raise InvalidInputError(name, expected="true or false", got=repr(text[:40]))
    return text == "true"


def version_or_label() -> tuple[int | None, str | None]:
    """What `?version=` or `?label=` asks for; neither is the newest version.

    Raises:
        InvalidInputError: both, or one that makes no sense.
    """
    version, label = positive("version"), argument("label")
    if label == "":
        raise InvalidInputError("label", expected="the name of a label", got="nothing")
    if label is not None and version is not None:
        raise InvalidInputError("label", expected="a version or a label", got="both")
    return version, label
