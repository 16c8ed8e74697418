"""The model that a request names, and what it requests of it by a URL of the REST API.

The patterns of URLs are those of TensorFlow Serving's `http_rest_api_util.cc`, which matches a URL
as it was sent, with its query, and decodes names afterwards.
"""

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

import msgspec

from tfs_api.status import Code, StatusError, invalid

MAX_VERSION = 2**63 - 1

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_FLAGS = re.IGNORECASE | re.ASCII
# Only the verb is case-sensitive, as in TensorFlow Serving.
_VERB = r"(?P<verb>(?-i:predict|classify|regress))"
_INFERENCE = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:{_VERB}", _FLAGS)
_DESCRIPTION = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<metadata>metadata))?", _FLAGS
)
_HOST = re.compile(r"https?://[^/?#]*", _FLAGS)


class ModelRef(msgspec.Struct, frozen=True):
    """The model of a request, with at most one of version and label."""

    name: str
    version: int | None = None
    label: str | None = None


class Action(Enum):
    """What a request does with a model."""

    PREDICT = "predict"
    CLASSIFY = "classify"
    REGRESS = "regress"
    STATUS = "status"
    METADATA = "metadata"


@dataclass(frozen=True)
class Route:
    """The action and the model of a request."""

    action: Action
    ref: ModelRef


def whole_number(text: str) -> int | None:
    """Parse an int64 from 0, such as a version; None if the text is something else."""
    # int() alone would accept other scripts' digits, and fail on thousands of digits.
    if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_VERSION:
        return int(text)
    return None


def path_of(uri: str) -> str:
    """The path and query of a request's URI, which WSGI has as Latin-1; it may contain the host."""
    text = uri if uri.isascii() else uri.encode("latin-1").decode("utf-8", "replace")
    return _HOST.sub("", text, count=1) if _HOST.match(text) else text


def route(method: str, path: str) -> Route:
    """Find the route of a request, whose path is as it was sent, with the query.

    Raises StatusError: NOT_FOUND for a path of another API, INVALID_ARGUMENT for no route.
    """
    if not path.lower().startswith("/v1/"):
        raise StatusError(Code.NOT_FOUND, f"Not found: {method} {path}")
    if method == "POST" and (match := _INFERENCE.fullmatch(path)):
        return Route(Action(match["verb"]), _ref(match))
    if method == "GET" and (match := _DESCRIPTION.fullmatch(path)):
        if match["name"] is None:
            raise invalid("Missing model name in request.")
        action = Action.METADATA if match["metadata"] == "metadata" else Action.STATUS
        return Route(action, _ref(match))
    raise invalid(f"Malformed request: {method} {path}")


def _ref(match: re.Match[str]) -> ModelRef:
    name = unquote(match["name"])
    digits = match["version"]
    if digits is None:
        return ModelRef(name, label=match["label"] and unquote(match["label"]))
    if len(digits) > 64 or int(digits) > MAX_VERSION:
        raise invalid(f"Failed to convert version: {digits} to numeric.")
    return ModelRef(name, version=int(digits))
