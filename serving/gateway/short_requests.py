"""Requests that have come as a whole, and what one has in common with the next.

A client that goes on asking over a connection sends the same head again, but for the length of what
it sends. So a head like the last one is not read again, and what follows from it alone is kept.
"""

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn import http
from gunicorn.config import Config
from gunicorn.http import wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Where a WSGI environment holds what the application found out from the head: a dictionary that
# requests with heads alike have in common, and change no values of.
ALIKE = "rockstar.alike"
# What is larger may come in parts, and take long.
LARGEST = 64 * 1024
_PREDICTION = re.compile(rb"POST /(?:predict|v1/models|v2/models)/")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)
# What frames a body otherwise, or holds it back.
_OTHERWISE = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade)[ \t]*:", re.IGNORECASE)


class ShortRequest(NamedTuple):
    """What came.

    Attributes:
        head: its lines, with the empty one that ends them.
        common: the same without the body's length.
        length: of the body, in digits.
        body: all of it.
    """

    head: bytes
    common: bytes
    length: bytes
    body: bytes


def short_request(data: bytes) -> ShortRequest | None:
    """A request for a prediction; None: another, or something is missing or too much."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or not _PREDICTION.match(data):
        return None
    head = data[:end]
    lengths = [*_LENGTH.finditer(head)]
    if len(lengths) != 1 or _OTHERWISE.search(head):
        return None
    first, last = lengths[0].span(1)
    length = head[first:last]
    if len(data) != end + int(length):
        return None
    return ShortRequest(head, head[:first] + head[last:], length, data[end:])


class Heads:
    """What the last head of a connection said."""

    def __init__(self, config: Config, client: Any, server: Any) -> None:
        """Begin without any.

        Args:
            config: gunicorn's.
            client: the address of the other side.
            server: the address that it connected to.
        """
        self._config = config
        self._client = client
        self._server = server
        self._common = b""
        self._request: Any = None
        self._environ: WSGIEnvironment = {}

    def read(self, request: ShortRequest) -> tuple[Any, "WSGIEnvironment"]:
        """What gunicorn makes of a request, for its response, and its WSGI environment.

        Raises:
            gunicorn.http.errors.ParseException: it is no request.
        """
        if request.common != self._common:
            self._read(request)
        environ = self._environ.copy()
        environ["CONTENT_LENGTH"] = request.length.decode()
        environ["wsgi.input"] = BytesIO(request.body)
        return self._request, environ

    def _read(self, request: ShortRequest) -> None:
        # Without the body, which would be kept.
        parsed = next(http.get_parser(self._config, [request.head], self._client))
        _, environ = wsgi.create(parsed, None, self._client, self._server, self._config)
        # An answer is sent in one piece.
        del environ["wsgi.early_hints"], environ["gunicorn.socket"]
        environ["wsgi.multithread"] = True
        environ[ALIKE] = {}
        self._common, self._request, self._environ = request.common, parsed, environ
