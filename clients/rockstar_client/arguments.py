"""What users of clients may say, checked and brought into form."""

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from rockstar_client.errors import UnavailableError
from rockstar_client.proxy import advice, proxy_for
from rockstar_client.tls import Tls
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

if TYPE_CHECKING:
    from urllib3.util import Url

# A token of RFC 9110, in small letters.
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")

_NO_CONNECTION = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)


def require_clear(model: str, version: int | None, label: str | None, top: int = 1) -> None:
    """Check which model is meant, how a version is picked, and how many labels are to be listed.

    Raises:
        InvalidInputError: no name, a version by number and by label, or no label at all.
    """
    if not isinstance(model, str) or not model:
        raise InvalidInputError("model", expected="the name of a model", got=repr(model))
    if version is not None and label is not None:
        raise InvalidInputError("version", expected="a version or a label", got="both")
    if top < 1:
        raise InvalidInputError("top", expected="1 or more", got=str(top))


@dataclass(frozen=True)
class Endpoint:
    """A gateway.

    Attributes:
        url: without a slash at its end.
        tls: how to know it; None where it speaks plain HTTP.
        proxy: of the environment, see `rockstar_client.proxy`; None: connect directly.
    """

    url: str
    tls: Tls | None
    proxy: "Url | None" = field(repr=False)

    @classmethod
    def of(cls, url: str, tls: Tls | None) -> "Endpoint":
        """The endpoint of a URL.

        Raises:
            InvalidInputError: it is no URL of HTTP, or TLS is meant for one without.
        """
        parts = _parts(url)
        if parts.scheme == "http" and tls is not None:
            raise InvalidInputError("tls", expected="a URL with https://", got=repr(url))
        secure = (tls or Tls()) if parts.scheme == "https" else None
        return cls(url.rstrip("/"), secure, proxy_for(url))

    def place(self, path: str) -> str:
        """Where a request goes, for errors: a proxy may answer instead of the gateway."""
        url = self.url + path.partition("?")[0]
        if self.proxy is None:
            return url
        host = urlsplit(url).hostname
        return f"{url}, asked through the proxy {self.proxy.host} (no_proxy={host} goes past it),"

    def unreachable(self, error: Exception) -> UnavailableError:
        """What to tell of a connection that was not made or was lost."""
        text = str(error)
        hint = "start a server with `rockstar serve`, or check the address"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            hint = "its certificate is by an authority that is not trusted: see tls=Tls(ca=…)"
        elif "[SSL" in text:
            hint = "it does not speak TLS as expected: try http://, or see tls="
        elif self.proxy is not None:
            hint = advice(self.proxy.host or "", urlsplit(self.url).hostname or "")
        return UnavailableError(
            Code.UNAVAILABLE, f"nothing answers at {self.url} ({_reason(error)}); {hint}"
        )


def fixed_headers(api_key: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """What every request says; names are in small letters.

    Raises:
        InvalidInputError: a key, a name or a value that no header can hold; it is not repeated.
    """
    _require_sendable("api_key", api_key or "")
    named = {name.lower(): value for name, value in (headers or {}).items()}
    for name, value in named.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidInputError("headers", expected="names of headers", got=repr(name))
        _require_sendable(f"headers[{name!r}]", value)
    return named | ({"authorization": f"Bearer {api_key}"} if api_key else {})


def _reason(error: BaseException) -> str:
    """The operating system's words for a failed connection, or else the library's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio has words of its own for these.
            code = cause.errno
            return (os.strerror(code) if code in _NO_CONNECTION else cause.strerror).lower()
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInputError(
            "url", expected="http://HOST:PORT or https://HOST:PORT", got=str(error)
        ) from error
    if parts.username is not None or parts.password is not None:
        # Errors and logs show the URL.
        raise InvalidInputError(
            "url",
            expected="one without user and password",
            got="one with them",
            hint="give a key as api_key=, anything else in headers=",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidInputError(
            "url", expected="http://… or https://…", got=repr(url), hint=f"try http://{url}"
        )
    return parts


def _require_sendable(field: str, text: str) -> None:
    """What both transports can send: RFC 9110 leaves other signs to chance, gRPC refuses them."""
    if not (text.isascii() and text.isprintable()) or text != text.strip():
        raise InvalidInputError(
            field,
            expected="printable ASCII without spaces or line ends around it",
            got="something else",
            hint="was it read from a file together with its line end?",
        )
