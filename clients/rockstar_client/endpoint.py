"""The address of a gateway, TLS, and the headers of every request."""

import errno
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from rockstar_client.errors import UnavailableError
from rockstar_client.proxy import advice, proxy_for
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

if TYPE_CHECKING:
    from urllib3.util import Url

# A token of RFC 9110, in small letters.
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")

_NO_CONNECTION = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)


@dataclass(frozen=True)
class Tls:
    """Whom to trust, and who we are; paths of PEM files.

    Attributes:
        ca: certificates of the authorities that may vouch for the server; None: the usual ones.
        certificate: ours, with its chain, for servers that ask for one.
        key: of our certificate, where it is not in the same file.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise InvalidInputError("tls.certificate", expected="the key's", got="a key alone")

    def context(self) -> ssl.SSLContext:
        """For HTTP.

        Raises:
            InvalidInputError: a file cannot be read.
        """
        ca, _, _ = self.read()
        try:
            context = ssl.create_default_context(cadata=ca.decode() if ca else None)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                "tls", expected="PEM files, a key that fits its certificate", got=str(error)
            ) from error
        return context

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents of the files: authorities, certificate, key.

        Raises:
            InvalidInputError: one cannot be read.
        """
        key = self.key or self.certificate
        return (
            _content(self.ca, "tls.ca"),
            _content(self.certificate, "tls.certificate"),
            _content(key, "tls.key"),
        )


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


def _content(path: str | Path | None, field: str) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            field, expected="a readable PEM file", got=f"{path} ({error.strerror})"
        ) from error
