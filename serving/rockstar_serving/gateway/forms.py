"""Parses `multipart/form-data` (RFC 7578), including the deviations of common clients."""

import base64
import re
from collections.abc import Iterable

import msgspec
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from werkzeug.http import parse_options_header

from rockstar_contract.errors import InvalidInputError, TooLargeError

# A part whose header gives no name.
UNNAMED = "unnamed field"
_MAX_PARTS = 1000
# Quoted, or anything up to the next parameter: clients often leave out the quotes that "=", "/" or
# ":" in a boundary would need.
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)+)"|([^";]+))', re.IGNORECASE)
_HINT = "let the HTTP library write the header Content-Type; it knows the boundary"


class Part(msgspec.Struct, frozen=True):
    """One part of a form.

    Attributes:
        name: of the field.
        filename: as the client calls the file; empty if a file input was left empty; None if the
            part has no file name.
        content_type: media type in lower case, or an empty string.
        charset: of the content type, if it names one.
        data: the content.
    """

    name: str
    filename: str | None
    content_type: str
    charset: str | None
    data: bytes

    @property
    def label(self) -> str:
        """Its name in error messages."""
        return f"{self.name} ({self.filename})" if self.filename else self.name


def read_form(content_type: str, chunks: Iterable[bytes]) -> list[Part]:
    """Parse a form into its parts, in order.

    Args:
        content_type: the header, with the boundary.
        chunks: the body in pieces; their total size is limited elsewhere.

    Raises:
        InvalidInputError: it is not a complete form; the message has the parser's reason.
        TooLargeError: it has too many parts.
    """
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
    parser = PushMultipartParser(
        boundary.encode("latin-1", "replace"),
        max_header_size=16 * 1024,
        max_header_count=32,
        max_segment_count=_MAX_PARTS,
        # Decodes any byte; _text() finds the encoding.
        header_charset="latin-1",
    )
    parts: list[Part] = []
    segment: MultipartSegment | None = None
    data = bytearray()  # see receiving.whole_body
    received = 0
    try:
        for chunk in chunks:
            received += len(chunk)
            # An empty chunk would mean the end.
            for event in parser.parse(chunk) if chunk else ():
                if isinstance(event, MultipartSegment):
                    segment, data = event, bytearray()
                elif event is not None:
                    data += event
                elif segment is not None:
                    parts.append(_part(segment, bytes(data)))
    except ParserLimitReached as error:
        raise TooLargeError(
            "body",
            expected=f"a form of at most {_MAX_PARTS} parts with short headers",
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
        if segment is not None:
            name = _text(segment.name or "")
            raise InvalidInputError(
                "body",
                expected=f"a form that ends with --{boundary}--",
                got=f"its end after {received:,} bytes, in or after the part {name!r}",
                hint="check that the upload is complete, and that Content-Length counts all of it",
            ) from error
        missing = f"no line with that boundary in {received:,} bytes"
        raise InvalidInputError(
            "body",
            expected=f"a form with the boundary --{boundary}",
            got=missing if received else "0 bytes",
            hint=_HINT,
        ) from error
    return parts


def _part(segment: MultipartSegment, data: bytes) -> Part:
    # Werkzeug also understands filename*=, which older versions of requests send.
    _, options = parse_options_header(segment.header("Content-Disposition", ""))
    name = _text(options.get("name", segment.name) or "") or UNNAMED
    filename = options.get("filename", segment.filename)
    if segment.header("Content-Transfer-Encoding", "").strip().lower() == "base64":
        try:
            data = base64.b64decode(data)
        except ValueError as error:
            raise InvalidInputError(
                name, expected="base64, as its Content-Transfer-Encoding says", got="something else"
            ) from error
    return Part(
        name,
        None if filename is None else _text(filename),
        segment.content_type or "",
        segment.charset,
        data,
    )


def _text(header: str) -> str:
    """Decode a header that was read as Latin-1: UTF-8 if it is valid."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header
