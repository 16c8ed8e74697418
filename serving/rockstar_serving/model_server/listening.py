"""TCP addresses to listen on."""

import socket

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 picks a free one.

    As in gRPC, 0.0.0.0 and :: mean all addresses of the machine, including IPv6.

    Raises:
        OSError: the address is in use, not allowed, or unknown.
    """
    everywhere = host in _EVERYWHERE and socket.has_dualstack_ipv6()
    family, kind, protocol, _, address = socket.getaddrinfo(
        "::" if everywhere else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if everywhere:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def join(host: str, port: int) -> str:
    """Join host and port as clients write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str, port: int) -> str:
    """The address of a listener for clients on this machine, even if it listens everywhere."""
    return join(_EVERYWHERE.get(host, host), port)
