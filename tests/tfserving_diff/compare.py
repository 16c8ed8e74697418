"""Differences between two replies, and which of them are intended."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tests import rest_cases
from tests.tfserving_diff.requests import golden
from tests.tfserving_diff.servers import Reply, Request, Server

INTENDED = Path(__file__).with_name("intended.toml")
_SHOWN = 1000
_PARTS = re.compile(r"(.*?:) expected (.*), got (.*)", re.DOTALL)


class Intended(msgspec.Struct, forbid_unknown_fields=True):
    """A kind of intended difference.

    Attributes:
        docs: the reason, a sentence of docs/model-server.md.
        aspect: one of Difference's; "" for any.
        request: a pattern for the request's text; left and right are patterns for the compared values.
    """

    docs: str
    aspect: str = ""
    request: str = ""
    left: str = ""
    right: str = ""

    def covers(self, difference: "Difference") -> bool:
        """Whether a difference is of this kind."""
        return self.aspect in ("", difference.aspect) and all(
            re.search(pattern, text, re.DOTALL)
            for pattern, text in (
                (self.request, str(difference.request)),
                (self.left, difference.left),
                (self.right, difference.right),
            )
        )


class Difference(msgspec.Struct):
    """A difference between two replies.

    Attributes:
        request: the request to both.
        aspect: "status" (or gRPC code), "message", "values", "headers" or "golden file".
        left: the first server's value.
        right: the second server's value.
    """

    request: Request
    aspect: str
    left: str
    right: str

    @property
    def group(self) -> tuple[str, ...]:
        """A key that is equal for differences of the same kind."""
        return self.request.kind, self.aspect, _pattern(self.left), _pattern(self.right)


def differences(request: Request, left: Reply, right: Reply) -> list[Difference]:
    """Compare two replies to a request.

    Numbers may differ by a millionth. If the status differs, the rest is not compared.
    """
    if left.status != right.status:
        return [Difference(request, "status", _whole(left), _whole(right))]
    found = []
    if left.message != right.message:
        shown = left.message[:_SHOWN], right.message[:_SHOWN]
        found.append(Difference(request, "message", *shown))
    if left.headers != right.headers:
        found.append(Difference(request, "headers", str(left.headers), str(right.headers)))
    line = next(iter(rest_cases.compare("body", left.document, right.document)), None)
    if line is not None:
        where, one, other = _PARTS.fullmatch(line).groups()  # type: ignore[union-attr]
        shown = f"{where} {one[:_SHOWN]}", f"{where} {other[:_SHOWN]}"
        found.append(Difference(request, "values", *shown))
    return found


def from_files(server: Server) -> Iterator[Difference]:
    """Differences of TensorFlow Serving's replies from the golden files."""
    for name, request in golden():
        for line in rest_cases.replay(name, server.rest or "", embedded=False):
            yield Difference(request, "golden file", line, f"{name}.json")


def intended() -> list[Intended]:
    """The intended differences, in the order of the docs."""
    listed = tomllib.loads(INTENDED.read_text())["intended"]
    return msgspec.convert(listed, list[Intended])


def smallest(found: Sequence[Difference]) -> Difference:
    """The difference with the shortest request."""
    return min(found, key=lambda each: (len(each.request.body), len(each.request.path)))


def _whole(reply: Reply) -> str:
    return f"{reply.status} {reply.message or reply.document}"[:_SHOWN]


def _pattern(text: str) -> str:
    """A text without the parts that change from request to request."""
    text = re.sub(r"\"[^\"]*\"|'[^']*'|\{.*\}|\[.*\]", "…", text, flags=re.DOTALL)
    return re.sub(r"-?\d[\d.e+-]*", "#", text)[:80]
