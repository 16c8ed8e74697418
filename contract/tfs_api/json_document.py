"""Bodies of requests as JSON, read as TensorFlow Serving's parser (RapidJSON) reads them.

simdjson reads what is JSON: values stay in its own memory until they are asked for, and an array of
numbers becomes a buffer without a Python object for each. What it refuses the standard library
reads: NaN and Infinity, which TensorFlow Serving allows, integers of more than 64 bits, and
documents that something follows, which TensorFlow Serving ignores.
"""

import json
import re
from typing import Any, NoReturn

from tfs_api.status import Code, StatusError

try:
    from simdjson import Array, Object, Parser
except ModuleNotFoundError:
    from tfs_api.json_plain import Array, Object, Parser  # type: ignore[assignment]

__all__ = ["Array", "is_list", "is_object", "parse", "plain"]

_WHITE_SPACE = " \t\n\r"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A parser keeps the memory that its largest document took. So only a few are kept, none of them
# after a document of more bytes than this.
_KEPT_BYTES = 16 * 2**20
_KEPT_PARSERS = 4
_parsers: list[Parser] = []

# How simdjson's errors begin where a number is more than 64 bits hold, or a decimal of 64 bits.
_OF_NUMBERS = ("NUMBER_ERROR", "BIGINT_ERROR")

# RapidJSON's words for what the standard library finds wrong.
_WORDS = {
    "Expecting value": "Invalid value.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting property name": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid control character": "Invalid escape character in string.",
    "Invalid \\uXXXX": "Incorrect hex digit after \\u escape in string.",
    "Invalid \\escape": "Invalid escape character in string.",
}
_STRING = r'"(?:[^"\\]|\\.)*"?'
_BRACKETS = re.compile(rf"{_STRING}|[\[\]{{}}]", re.DOTALL)
# The escape of a high surrogate that no low one follows.
_HALF_PAIR = re.compile(
    r"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_SHORT_TOKENS = re.compile(rf"{_STRING}|-NaN|Inf(?!inity)", re.DOTALL)


def parse(body: bytes | memoryview) -> Any:
    """Read a document.

    Returns:
        Its root: what `json.loads` makes of it, or simdjson's Object or Array in the place of a
        dictionary or a list; for these see is_object(), is_list() and plain().

    Raises:
        StatusError: INVALID_ARGUMENT, not JSON.
    """
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    if body[:3] == _BYTE_ORDER_MARK:
        body = body[3:]
    try:
        return _parse_quickly(body)
    except (ValueError, RuntimeError) as error:  # no JSON, or nested too deeply
        return _parse_leniently(body, numbers=str(error).startswith(_OF_NUMBERS))


def is_list(value: Any) -> bool:
    """Whether it is an array."""
    return isinstance(value, (list, Array))


def is_object(value: Any) -> bool:
    """Whether it is an object."""
    return isinstance(value, (dict, Object))


def plain(value: Any) -> Any:
    """A value in Python's own types, all through."""
    if isinstance(value, Array):
        return value.as_list()
    if isinstance(value, Object):
        return value.as_dict()
    return value


def _parse_quickly(body: bytes | memoryview) -> Any:
    if len(body) > _KEPT_BYTES:
        return Parser().parse(body)
    for parser in tuple(_parsers):
        try:
            return parser.parse(body)
        except RuntimeError as error:
            if "re-use" not in str(error):  # a document of this parser is still in use
                raise
    parser = Parser()
    document = parser.parse(body)
    if len(_parsers) < _KEPT_PARSERS:
        _parsers.append(parser)
    return document


def _parse_leniently(body: bytes | memoryview, *, numbers: bool) -> Any:
    # TensorFlow Serving does not look whether text is UTF-8; bytes that are not pass through.
    text = bytes(body).decode("utf-8", "surrogateescape")
    try:
        try:
            return _first_value(text, numbers=numbers)
        except json.JSONDecodeError as error:
            if "Inf" not in text and "-NaN" not in text:
                _refuse(text, error)
        return _first_value(_SHORT_TOKENS.sub(_long_token, text), numbers=numbers)
    except json.JSONDecodeError as error:
        _refuse(error.doc, error)
    except (RecursionError, ValueError) as error:
        raise _invalid(
            "JSON Parse error: Nested too deeply or a number too long at offset: 0"
        ) from error


def _first_value(text: str, *, numbers: bool) -> Any:
    """The value that a text begins with; what follows it does not matter.

    Args:
        text: it may begin with white space.
        numbers: make decimals of integers of more than 64 bits, and refuse what no decimal holds.
    """

    def decimal(token: str) -> float:
        value = float(token)
        if value in (float("inf"), float("-inf")):
            raise _error("Number too big to be stored in double.", text[: text.find(token)])
        return value

    def integer(token: str) -> int | float:
        value = int(token) if len(token) <= 20 else 2**64
        return value if -(2**63) <= value < 2**64 else decimal(token)

    decoder = json.JSONDecoder(
        object_pairs_hook=_first_wins,
        parse_float=decimal if numbers else None,
        parse_int=integer if numbers else None,
    )
    value, end = decoder.raw_decode(text, len(text) - len(text.lstrip(_WHITE_SPACE)))
    if "\\u" in text and (half := _HALF_PAIR.search(text, 0, end)):
        raise _error("The surrogate pair in string is invalid.", text[: half.start(1)])
    return value


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which each key has the first of its values, as simdjson has it."""
    first = dict(reversed(pairs))
    return {key: first[key] for key, _ in pairs}


def _long_token(match: re.Match[str]) -> str:
    return {"Inf": "Infinity", "-NaN": "NaN"}.get(match[0], match[0])


def _refuse(text: str, error: json.JSONDecodeError) -> NoReturn:
    offset = len(text) if error.msg.startswith("Unterminated string") else error.pos
    raise _error(_words(text, error), text[:offset]) from error


def _words(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "The document is empty."
    for start, words in _WORDS.items():
        if error.msg.startswith(start):
            return words
    if _innermost(text[: error.pos]) == "[":
        return "Missing a comma or ']' after an array element."
    return "Missing a comma or '}' after an object member."


def _innermost(text: str) -> str:
    """The bracket that is open where a text ends."""
    closed = 0
    for bracket in reversed(_BRACKETS.findall(text)):
        if bracket in "]}":
            closed += 1
        elif bracket in "[{":
            if not closed:
                return str(bracket)
            closed -= 1
    return "{"


def _error(words: str, before: str) -> StatusError:
    offset = len(before.encode("utf-8", "surrogateescape"))
    return _invalid(f"JSON Parse error: {words} at offset: {offset}")


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)
