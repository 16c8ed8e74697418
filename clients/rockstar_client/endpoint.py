"""How to reach a server: its URL, TLS, the headers of every request, and the environment's proxy.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are read as by `requests`, in upper or lower case.
NO_PROXY lists host names (which include subdomains), ports, IPv4 networks, or `*`. Calls between
our own processes use no proxy.
"""

import errno
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

from rockstar_client.errors import UnavailableError
from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code

if TYPE_CHECKING:
    from urllib3.util import Url

SOCKS = ("socks5", "socks5h", "socks4", "socks4a")

# A token of RFC 9110, in lower case.
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")

# In the messages of the libraries of the clients.
_NOT_HTTP = re.compile(r"BadStatusLine\(|Bad status line")
_NO_CONNECTION = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)


@dataclass(frozen=True)
class Tls:
    """The certificates to trust and to present; paths of PEM files.

    Attributes:
        ca: certificates of the trusted authorities; None means those of the system.
        certificate: the client's, with its chain, for servers that require one.
        key: of the client's certificate, if it is in another file.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise InvalidInputError("tls.certificate", expected="the key's", got="a key alone")

    def context(self) -> ssl.SSLContext:
        """Create the context for HTTP; an InvalidInputError if a file cannot be read."""
        ca, _, _ = self.read()
        try:
            context = ssl.create_default_context(cadata=ca.decode() if ca else None)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, UnicodeDecodeError) as error:
            expected = "PEM files, a key that fits its certificate"
            raise InvalidInputError("tls", expected=expected, got=str(error)) from error
        return context

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Read the files: authorities, certificate, key."""
        return (
            _content(self.ca, "tls.ca"),
            _content(self.certificate, "tls.certificate"),
            _content(self.key or self.certificate, "tls.key"),
        )


@dataclass(frozen=True)
class Endpoint:
    """A gateway."""

    url: str  # without a trailing slash
    tls: Tls | None  # None for plain HTTP
    proxy: "Url | None" = field(repr=False)  # of the environment; None means a direct connection

    @classmethod
    def of(cls, url: str, tls: Tls | None) -> "Endpoint":
        """Parse a URL; an InvalidInputError for other URLs, or for `tls` with a URL without TLS."""
        parts = _parts(url)
        if parts.scheme == "http" and tls is not None:
            raise InvalidInputError("tls", expected="a URL with https://", got=repr(url))
        secure = (tls or Tls()) if parts.scheme == "https" else None
        return cls(url.rstrip("/"), secure, proxy_for(url))

    def place(self, path: str) -> str:
        """Describe where a request goes, for errors: a proxy may answer instead of the gateway."""
        url = self.url + path.partition("?")[0]
        if self.proxy is None:
            return url
        host = urlsplit(url).hostname
        return f"{url}, through the proxy {self.proxy.host} (set no_proxy={host} to bypass it),"

    def unreachable(self, error: Exception) -> UnavailableError:
        """Create the error for a connection that failed or was lost."""
        text, reason = str(error), _reason(error)
        hint = "start a server with `rockstar serve`, or check the address"
        if "CERTIFICATE_VERIFY_FAILED" in text:
            hint = "its certificate is by an authority that is not trusted: see tls=Tls(ca=…)"
        elif "[SSL" in text:
            hint = "it does not speak TLS as expected: try http://, or see tls="
        elif _NOT_HTTP.search(text):
            reason, hint = "the response is not HTTP/1.1", "is it a port for gRPC or HTTPS?"
        elif self.proxy is not None:
            hint = proxy_hint(self.proxy.host or "", urlsplit(self.url).hostname or "")
        return UnavailableError(
            Code.UNAVAILABLE, f"nothing answers at {self.url} ({reason}); {hint}"
        )


def fixed_headers(api_key: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of every request; names are in lower case. Errors omit the text of values."""
    _require_sendable("api_key", api_key or "")
    named = {name.lower(): value for name, value in (headers or {}).items()}
    for name, value in named.items():
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidInputError("headers", expected="names of headers", got=repr(name))
        _require_sendable(f"headers[{name!r}]", value)
    return named | ({"authorization": f"Bearer {api_key}"} if api_key else {})


def proxy_for(url: str) -> "Url | None":
    """The environment's proxy for a URL; None means a direct connection.

    The error for an invalid proxy omits its credentials.
    """
    if not getproxies():
        return None
    # Imported only if there is a proxy: it takes a tenth of a second.
    import requests
    from urllib3.exceptions import LocationParseError
    from urllib3.util import Url, parse_url

    settings = requests.Session().merge_environment_settings(url, {}, None, None, None)
    scheme = url.partition("://")[0]
    named = settings["proxies"].get(scheme) or settings["proxies"].get("all")
    if not named:
        return None
    try:
        proxy = parse_url(named if "://" in named else f"http://{named.lstrip('/')}")
    except LocationParseError:
        proxy = Url()
    if proxy.scheme not in ("http", "https", *SOCKS) or not proxy.host:
        raise InvalidInputError(
            f"{scheme}_proxy",
            expected="http://HOST:PORT, https://… or socks5h://…",
            got=f"{proxy.scheme or ''}://{proxy.host or ''}",
            hint="see the environment variables http_proxy, https_proxy and all_proxy",
        )
    return proxy


def no_socks(proxy: "Url", package: str) -> InvalidInputError:
    """Create the error for a SOCKS proxy if the package for it is not installed."""
    return InvalidInputError(
        "proxy",
        expected="an HTTP proxy",
        got=f"{proxy.scheme}://{proxy.host} from the environment",
        hint=f"install {package}, or the extra of RockstarTF: rockstartf[socks]",
    )


def grpc_proxy(address: str) -> list[tuple[str, Any]]:
    """The channel options that make gRPC use, or bypass, the environment's proxy.

    gRPC supports only HTTP proxies; others are ignored, as by all gRPC programs.
    """
    if address.startswith("unix") or {"grpc_proxy", "no_grpc_proxy"} & os.environ.keys():
        return []  # a socket, or gRPC's own variables, which it reads itself
    host = address.rpartition("/")[2].removeprefix("dns:").removeprefix("ipv4:")
    host = host.removeprefix("ipv6:").partition(",")[0]
    # gRPC uses a tunnel through the proxy, as HTTPS does.
    proxy = proxy_for(f"https://{host}") or proxy_for(f"http://{host}")
    if proxy is None or proxy.scheme != "http":
        return [("grpc.enable_http_proxy", 0)]
    return [("grpc.http_proxy", proxy.url)]


def proxy_hint(proxy: str, host: str) -> str:
    """A hint for a server that could not be reached through a proxy."""
    return (
        f"the request went through the proxy {proxy}, see the environment variables http_proxy "
        f"and https_proxy; set no_proxy={host} to bypass it"
    )


def _reason(error: BaseException) -> str:
    """The operating system's message for a failed connection, or else the library's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio has messages of its own for these.
            code = cause.errno
            return (os.strerror(code) if code in _NO_CONNECTION else cause.strerror).lower()
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _parts(url: str) -> SplitResult:
    expected = "http://HOST:PORT or https://HOST:PORT"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInputError("url", expected=expected, got=str(error)) from error
    if parts.username is not None or parts.password is not None:
        # Errors and logs show the URL.
        raise InvalidInputError(
            "url",
            expected="one without user and password",
            got="one with them",
            hint="give a key as api_key=, anything else in headers=",
        )
    if parts.scheme not in ("http", "https") or not host:
        hint = f"try http://{url}"
        raise InvalidInputError("url", expected=expected, got=repr(url), hint=hint)
    return parts


def _require_sendable(field: str, text: str) -> None:
    """Check that both transports can send a value: gRPC rejects other characters."""
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
        got = f"{path} ({error.strerror})"
        raise InvalidInputError(field, expected="a readable PEM file", got=got) from error
