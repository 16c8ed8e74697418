"""TCP addresses to listen on."""

import socket

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 picks a free one.

    As in gRPC, 0.0.0.0 and :: are all addresses of the machine, those of IPv6 included.

    Raises:
        OSError: taken, not allowed, or no such host.
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
    """Host and port as one text, as clients write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str, port: int) -> str:
    """Where clients on this machine reach a listener, also one that listens everywhere."""
    return join(_EVERYWHERE.get(host, host), port)
