"""Golden REST requests and responses: the files in tests/testdata/rest, one case each.

    {
      "request": {"method": "POST", "path": "/v1/…", "json": {…}},
      "answer": {"status": 200, "json": {…}},
      "embedded": {"why": "…", "status": 400, "error": "…"}
    }

A request's body is `json` or, if it is not JSON or has NaN, `text`; `gzip` compresses it. An answer
has one of: `json`, the whole document, in which numbers may differ by a millionth, but 2.0 is not 2;
`text`, the document as text, for NaN; `subset`, a part of the document; `error`, the error message;
`error_matches`, a pattern for it; `empty`, no body; `anything`. `embedded` describes an intended
difference of the embedded server from TensorFlow Serving, and its reason.
"""

import gzip
import http.client
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parent / "testdata" / "rest"
_TOLERANCE = 1e-6


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The request of a case."""

    method: str
    path: str
    headers: dict[str, str] = {}
    json: Any = msgspec.UNSET
    text: str | None = None
    gzip: bool = False

    @property
    def body(self) -> bytes | None:
        """The encoded body."""
        text = self.text if self.json is msgspec.UNSET else json.dumps(self.json)
        body = None if text is None else text.encode()
        return gzip.compress(body) if body is not None and self.gzip else body


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """The expected response of a case."""

    status: int
    headers: dict[str, str] = {}
    json: Any = msgspec.UNSET
    text: str | None = None
    subset: Any = msgspec.UNSET
    error: str | None = None
    error_matches: str | None = None
    empty: bool = False
    anything: bool = False
    why: str = ""


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """A golden file."""

    request: Request
    answer: Answer
    embedded: Answer | None = None


def names() -> list[str]:
    """The cases."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def differs(name: str) -> bool:
    """Whether the embedded server's response differs from TensorFlow Serving's."""
    case = read(name)
    return case.embedded is not None and not case.answer.anything


def replay(name: str, address: str, *, embedded: bool) -> list[str]:
    """Send a case's request to a server.

    Args:
        name: name of the case.
        address: HOST:PORT.
        embedded: whether it is the embedded server, or TensorFlow Serving.

    Returns:
        Differences from the expected response.
    """
    case = read(name)
    expected = case.embedded if embedded and case.embedded else case.answer
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        request = case.request
        headers = {"Content-Encoding": "gzip"} if request.gzip else {}
        connection.request(request.method, request.path, request.body, headers | request.headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    return list(_differences(expected, response, body))


def read(name: str) -> Case:
    """A case by its name."""
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Case)


def _differences(
    expected: Answer, response: http.client.HTTPResponse, body: bytes
) -> Iterator[str]:
    if response.status != expected.status:
        yield f"status: expected {expected.status}, got {response.status} ({body[:200]!r})"
        return
    for name, value in expected.headers.items():
        if response.getheader(name) != value:
            yield f"header {name}: expected {value!r}, got {response.getheader(name)!r}"
    if expected.empty and body:
        yield f"body: expected none, got {body[:200]!r}"
    if expected.empty or expected.anything:
        return
    try:
        document = json.loads(body)
    except ValueError:
        yield f"body: expected JSON, got {body[:200]!r}"
        return
    if expected.error is not None:
        yield from compare("body", {"error": expected.error}, document)
    elif expected.error_matches is not None:
        text = document.get("error") if isinstance(document, dict) else None
        if not isinstance(text, str) or not re.fullmatch(expected.error_matches, text, re.DOTALL):
            yield f"error: expected {expected.error_matches!r}, got {text!r}"
    elif expected.subset is not msgspec.UNSET:
        yield from compare("body", expected.subset, document, subset=True)
    else:
        whole = expected.json if expected.text is None else json.loads(expected.text)
        yield from compare("body", whole, document)


def compare(where: str, expected: Any, found: Any, *, subset: bool = False) -> Iterator[str]:
    """Differences between a document and the expected one; numbers may differ by a millionth."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if not subset and expected.keys() != found.keys():
            yield f"{where}: expected the keys {sorted(expected)}, got {sorted(found)}"
            return
        for key, value in expected.items():
            yield from compare(f"{where}.{key}", value, found.get(key), subset=subset)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, pair in enumerate(zip(expected, found, strict=True)):
            yield from compare(f"{where}[{index}]", *pair, subset=subset)
    elif not _same(expected, found):
        yield f"{where}: expected {expected!r}, got {found!r}"


def _same(expected: Any, found: Any) -> bool:
    if type(expected) is not type(found):
        return False
    if isinstance(expected, float):
        if math.isnan(expected):
            return math.isnan(found)
        return math.isclose(expected, found, rel_tol=_TOLERANCE)
    return bool(expected == found)
