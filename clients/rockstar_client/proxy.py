"""The proxy that the environment names for a URL, decided as `requests` does.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case; NO_PROXY lists host names with
their subdomains, ports, IPv4 networks, or `*`. Calls between our own processes use no proxy.
"""

import os
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from rockstar_contract.errors import InvalidInputError

if TYPE_CHECKING:
    from urllib3.util import Url

SOCKS = ("socks5", "socks5h", "socks4", "socks4a")


def proxy_for(url: str) -> "Url | None":
    """The proxy to use for a URL; None: connect directly.

    Raises:
        InvalidInputError: the environment names a proxy that cannot be one; its credentials are
            not repeated.
    """
    if not getproxies():
        return None
    # Imported only where there is a proxy: it takes a tenth of a second.
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
    """The error where the package that speaks to SOCKS proxies is not installed."""
    return InvalidInputError(
        "proxy",
        expected="an HTTP proxy",
        got=f"{proxy.scheme}://{proxy.host} from the environment",
        hint=f"install {package}, or the extra of RockstarTF: rockstartf[socks]",
    )


def grpc_proxy(address: str) -> list[tuple[str, Any]]:
    """The channel options that send a gRPC client through the environment's proxy, or past it.

    gRPC speaks to HTTP proxies alone; another kind is not used, as with all programs of gRPC.
    """
    if address.startswith("unix") or {"grpc_proxy", "no_grpc_proxy"} & os.environ.keys():
        return []  # a socket, or gRPC's own variables, which it reads itself
    host = address.rpartition("/")[2].removeprefix("dns:").removeprefix("ipv4:")
    host = host.removeprefix("ipv6:").partition(",")[0]
    # A proxy makes a tunnel for gRPC, as for HTTPS.
    proxy = proxy_for(f"https://{host}") or proxy_for(f"http://{host}")
    if proxy is None or proxy.scheme != "http":
        return [("grpc.enable_http_proxy", 0)]
    return [("grpc.http_proxy", proxy.url)]


def advice(proxy: str, host: str) -> str:
    """What to say of a server that was not reached through a proxy."""
    return (
        f"it is asked through the proxy {proxy}, see the environment variables http_proxy and "
        f"https_proxy; no_proxy={host} goes past it"
    )
