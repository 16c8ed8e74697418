"""Requests that have come as a whole, and what one has in common with the next.

A client that goes on asking over a connection sends the same head again, but for the length of what
it sends; a proxy adds an id, and for whom it asks. So a head that is like the last one but for such
lines is not read again, and what follows from the rest is kept.
"""

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn import http
from gunicorn.config import Config
from gunicorn.http import wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# Where a WSGI environment holds what the application found out from the path and the host: a
# dictionary that requests with heads alike have in common, and change no values of.
ALIKE = "rockstar.alike"
# What is larger may come in parts, and take long.
LARGEST = 64 * 1024
_PREDICTION = re.compile(rb"POST /(?:predict|v1/models|v2/models)/")
_OWN = {
    b"content-length": "CONTENT_LENGTH",
    b"traceparent": "HTTP_TRACEPARENT",
    b"x-forwarded-for": "HTTP_X_FORWARDED_FOR",
    b"x-real-ip": "HTTP_X_REAL_IP",
    b"x-request-id": "HTTP_X_REQUEST_ID",
}
# Of these each request has its own, or else a body is framed otherwise, compressed or held back.
_LINE = re.compile(
    rb"\r\n(?:(%s):[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)|"
    rb"(?:transfer-encoding|content-encoding|expect|upgrade)[ \t]*:)" % b"|".join(_OWN),
    re.IGNORECASE,
)
_LENGTH = re.compile(r"[0-9]{1,9}")
# gunicorn refuses lines that are much longer.
_PLAIN = re.compile(rb"[ -~]{0,1000}")


class ShortRequest(NamedTuple):
    """What came.

    Attributes:
        head: its lines, with the empty one that ends them.
        common: the same without what is its own.
        own: by its name in a WSGI environment, what may differ from that of requests like it.
        body: all of it.
    """

    head: bytes
    common: bytes
    own: dict[str, str]
    body: bytes


def short_request(data: bytes) -> ShortRequest | None:
    """A request for a prediction; None: another, or something is missing, unusual or too much."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or not _PREDICTION.match(data):
        return None
    head, own = data[:end], {}
    common, at = b"", 0
    for line in _LINE.finditer(head):
        name, value = line.groups()
        if name is None or not _PLAIN.fullmatch(value):
            return None
        key = _OWN[name.lower()]
        if key in own:
            return None
        own[key] = value.decode("ascii")
        first, last = line.span(2)
        common, at = common + head[at:first], last
    length = own.get("CONTENT_LENGTH", "")
    if not _LENGTH.fullmatch(length) or len(data) != end + int(length):
        return None
    return ShortRequest(head, common + head[at:], own, data[end:])


def forward_script_name(request: Any) -> None:
    """Call the header SCRIPT_NAME of one of gunicorn's requests X-Forwarded-Prefix.

    gunicorn would take it only where the proxy has not removed it from the path. It has dropped it
    from requests of proxies that are not trusted.
    """
    names = [name for name, _ in request.headers]
    if "SCRIPT_NAME" in names and "X-FORWARDED-PREFIX" not in names:
        at = names.index("SCRIPT_NAME")
        request.headers[at] = ("X-FORWARDED-PREFIX", request.headers[at][1])


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
        environ = self._environ | request.own
        environ["wsgi.input"] = BytesIO(request.body)
        return self._request, environ

    def _read(self, request: ShortRequest) -> None:
        # Without the body, which would be kept.
        parsed = next(http.get_parser(self._config, [request.head], self._client))
        forward_script_name(parsed)
        _, environ = wsgi.create(parsed, None, self._client, self._server, self._config)
        # An answer is sent in one piece.
        del environ["wsgi.early_hints"], environ["gunicorn.socket"]
        environ["wsgi.multithread"] = True
        environ[ALIKE] = {}
        self._common, self._request, self._environ = request.common, parsed, environ
