"""Arguments in a request's URL that several APIs take."""

from collections.abc import Mapping

from flask import request

from rockstar_contract.errors import InvalidInputError

Arguments = Mapping[str, str]


def only(*names: str) -> Arguments:
    """The arguments of the current request; of one that is there twice the first counts.

    Raises:
        InvalidInputError: there is one with another name.
    """
    if not request.environ.get("QUERY_STRING"):
        return {}
    # Asked for one that is not there, Werkzeug's own mapping would raise and catch an error.
    given = request.args.to_dict()
    unknown = sorted(given.keys() - set(names)) if given else ()
    if unknown:
        raise InvalidInputError(unknown[0], expected=" or ".join(names), got=unknown[0])
    return given


def positive(arguments: Arguments, name: str) -> int | None:
    """A whole number from 1, if the argument is there.

    Raises:
        InvalidInputError: it is something else.
    """
    text = arguments.get(name)
    if text is None:
        return None
    # isdecimal alone would let other scripts' digits by; a version is an int64 on the wire.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 1 <= int(text) < 2**63):
        raise InvalidInputError(name, expected="a whole number from 1", got=repr(text[:40]))
    return int(text)


def share(arguments: Arguments, name: str) -> float | None:
    """A number from 0 to 1, if the argument is there.

    Raises:
        InvalidInputError: it is something else.
    """
    text = arguments.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InvalidInputError(name, expected="a number from 0 to 1", got=repr(text[:40]))
    return value


def flag(arguments: Arguments, name: str) -> bool:
    """Whether an argument is `true`; absent or `false` it is not.

    Raises:
        InvalidInputError: it is something else.
    """
    text = arguments.get(name, "false").lower()
    if text not in ("true", "false"):
        raise InvalidInputError(name, expected="true or false", got=repr(text[:40]))
    return text == "true"


def version_or_label(arguments: Arguments) -> tuple[int | None, str | None]:
    """What `?version=` or `?label=` asks for; neither is the newest version.

    Raises:
        InvalidInputError: both, or one that makes no sense.
    """
    version, label = positive(arguments, "version"), arguments.get("label")
    if label == "":
        raise InvalidInputError("label", expected="the name of a label", got="nothing")
    if label is not None and version is not None:
        raise InvalidInputError("label", expected="a version or a label", got="both")
    return version, label
