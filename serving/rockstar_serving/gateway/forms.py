"""Forms: `multipart/form-data` (RFC 7578) to its parts, as clients really send it."""

import base64
import re
from collections.abc import Iterable, Mapping

import msgspec
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.http import parse_options_header

from rockstar_contract.errors import InvalidInputError, TooLargeError

# A part whose header gives no name.
UNNAMED = "unnamed field"
_MOST_PARTS = 1000
_MOST_HEADERS, _LONGEST_HEADER = 32, 16 * 1024
# Quoted, or anything up to the next parameter: clients often leave out the quotes that "=", "/" or
# ":" in a boundary would need.
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)+)"|([^";]+))', re.IGNORECASE)
_HINT = "let the HTTP library write the header Content-Type; it knows the boundary"


class Part(msgspec.Struct, frozen=True):
    """One part of a form.

    Attributes:
        name: of the field.
        filename: as the client calls the file; empty where a form's file input was left empty;
            None where the part has no file name.
        content_type: media type in lower case, or an empty string.
        charset: of the content type, where that names one.
        data: all of its bytes.
    """

    name: str
    filename: str | None
    content_type: str
    charset: str | None
    data: bytes

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"{self.name} ({self.filename})" if self.filename else self.name

    @property
    def is_text(self) -> bool:
        """Whether it is the value of an ordinary field: short of a file name, and text."""
        typed_as_file = self.content_type.startswith(("image/", "application/octet-stream"))
        return not self.filename and not typed_as_file and is_text(self.data)


def read_form(content_type: str, chunks: Iterable[bytes]) -> list[Part]:
    """The parts of a form, in order.

    Args:
        content_type: the header, with the boundary.
        chunks: the body in pieces, which together have an acceptable size.

    Raises:
        InvalidInputError: it is not a form, or not all of one; the message has the parser's reason.
        TooLargeError: it has too many parts.
    """
    boundary = _boundary(content_type)
    parser = PushMultipartParser(
        boundary,
        max_header_size=_LONGEST_HEADER,
        max_header_count=_MOST_HEADERS,
        max_segment_count=_MOST_PARTS,
        # Takes any byte; _text() finds out what was meant.
        header_charset="latin-1",
    )
    parts: list[Part] = []
    segment: MultipartSegment | None = None
    data: list[bytes] = []
    received = 0
    try:
        for chunk in chunks:
            received += len(chunk)
            # An empty one would mean the end.
            for event in parser.parse(chunk) if chunk else ():
                if isinstance(event, MultipartSegment):
                    segment, data = event, []
                elif event is not None:
                    data.append(event)
                elif segment is not None:
                    parts.append(_part(segment, b"".join(data)))
    except ParserLimitReached as error:
        raise TooLargeError(
            "body",
            expected=f"a form of at most {_MOST_PARTS} parts with short headers",
            got=f"a larger one ({error})",
            hint="send fewer files in one request",
        ) from error
    except MultipartError as error:
        raise InvalidInputError(
            "body", expected="a form (multipart/form-data)", got=f"something else ({error})"
        ) from error
    try:
        parser.close()
    except MultipartError as error:
        raise _incomplete(boundary, received, segment) from error
    return parts


def is_text(data: bytes) -> bool:
    """Whether bytes are text rather than a file of an image or an array."""
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type)
    quoted, bare = found.groups() if found else (None, None)
    boundary = re.sub(r"\\(.)", r"\1", quoted) if quoted else (bare or "").strip()
    if not boundary:
        raise InvalidInputError(
            "Content-Type",
            expected="multipart/form-data; boundary=…",
            got="no boundary",
            hint=_HINT,
        )
    return boundary.encode("latin-1", "replace")


def _incomplete(
    boundary: bytes, received: int, segment: MultipartSegment | None
) -> InvalidInputError:
    """Why there was no end."""
    line = f"--{boundary.decode('latin-1')}"
    if segment is None:
        got = "0 bytes" if not received else f"no line with that boundary in {received:,} bytes"
        return InvalidInputError(
            "body", expected=f"a form with the boundary {line}", got=got, hint=_HINT
        )
    return InvalidInputError(
        "body",
        expected=f"a form that ends with {line}--",
        got=f"its end after {received:,} bytes, in or after the part {_text(segment.name or '')!r}",
        hint="check that the upload is complete, and that Content-Length counts all of it",
    )


def _part(segment: MultipartSegment, data: bytes) -> Part:
    # Werkzeug also understands filename*=, which older versions of requests send.
    _, options = parse_options_header(segment.header("Content-Disposition", ""))
    if segment.header("Content-Transfer-Encoding", "").strip().lower() == "base64":
        data = _from_base64(data, segment)
    return Part(
        _option(options, "name", segment.name) or UNNAMED,
        _option(options, "filename", segment.filename),
        segment.content_type or "",
        segment.charset,
        data,
    )


def _option(options: Mapping[str, str], name: str, otherwise: str | None) -> str | None:
    text = options.get(name, otherwise)
    return None if text is None else _text(text)


def _from_base64(data: bytes, segment: MultipartSegment) -> bytes:
    try:
        return base64.b64decode(data)
    except ValueError as error:
        raise InvalidInputError(
            _text(segment.name or UNNAMED),
            expected="base64, as its Content-Transfer-Encoding says",
            got="something else",
        ) from error


def _text(header: str) -> str:
    """What was meant by a header that was read as Latin-1: UTF-8 where it is valid."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
