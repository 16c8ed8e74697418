"""TCP addresses to listen on."""

import errno
import ipaddress
import os
import resource
import socket

from rockstar_serving import ServeError

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104

# File descriptors of a process other than its connections.
_OTHER_FILES = 256


def listener(host: str, port: int, flag: str) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises a ServeError that names the flag."""
    try:
        return socket.create_server((host, port), family=_family(host), backlog=2048)
    except OSError as error:
        raise _unusable(host, port, flag, error) from error


def reserve(host: str, port: int, flag: str) -> socket.socket:
    """Reserve an address for this process and its children, without listening.

    Each of them may listen on a socket of its own, which gets a share of the connections. Port 0
    picks a free one. Raises like `listener`.
    """
    # Others of the same user could share the port too.
    if port:
        require_free(host, port, flag)
    reserved = socket.socket(_family(host))
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise _unusable(host, port, flag, error) from error
    return reserved


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _unusable(host: str, port: int, flag: str, error: OSError) -> ServeError:
    if error.errno == errno.EADDRINUSE:
        return ServeError(f"{host}:{port} is taken; choose another with {flag}")
    why = (error.strerror or str(error)).partition(" (")[0]
    return ServeError(f"cannot listen on {host}:{port} ({flag}): {why}")


def require_free(host: str, port: int, flag: str) -> None:
    """Check that a port that a child process will bind is free.

    The error names the user's flag; the child's error would name its own. Raises like `listener`.
    """
    listener(host, port, flag).close()


def bind(host: str, port: int) -> socket.socket:
    """Listen on an address as gRPC does; port 0 picks a free one. Raises OSError.

    0.0.0.0 and :: mean all addresses of the machine, including IPv6.
    """
    everywhere = host in _EVERYWHERE and socket.has_dualstack_ipv6()
    family, kind, protocol, _, address = socket.getaddrinfo(
        "::" if everywhere else host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if everywhere:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound


def connection_limit(most: int) -> int:
    """How many connections this process can have at a time: at most `most`.

    Raises the soft limit of file descriptors as far as needed, and leaves three quarters of them,
    but at most 256, for files and connections to other servers.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, soft - min(_OTHER_FILES, soft * 3 // 4)))


def join(host: str, port: int) -> str:
    """Join host and port as clients write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """A host that reaches a listener from this machine, even if it listens on all addresses."""
    return _EVERYWHERE.get(host, host)


def is_local(bind: str) -> bool:
    """Whether a gateway's address can be reached only from this machine."""
    if bind.startswith("unix:"):
        return True
    host = bind.rpartition(":")[0].strip("[]")
    if bind.startswith("fd://"):
        with socket.socket(fileno=os.dup(int(bind.removeprefix("fd://")))) as bound:
            host = bound.getsockname()[0]
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # the path of a socket, or a name
        return "/" in host
