"""Addresses to listen on, with errors that name the user's flags."""

import errno
import socket

from rockstar_serving.supervisor import ServeError


def require_free(host: str, port: int, flag: str) -> None:
    """Check that a port that a child will bind is free; see `listener`."""
    # The model server would name its own flags where a port is taken: this names the user's.
    listener(host, port, flag).close()


def host_and_port(address: str) -> str:
    """The address of a TensorFlow Serving, checked.

    Raises:
        ServeError: it is not HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ServeError(f"--tfserving: expected HOST:PORT of its gRPC API, got {address!r}")
    return address


def listener(host: str, port: int, flag: str) -> socket.socket:
    """A socket that listens; port 0 picks a free one.

    Raises:
        ServeError: taken, or no address of this machine; it names the flag to change.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServeError(f"{host}:{port} is taken; choose another with {flag}") from error
        why = (error.strerror or str(error)).partition(" (")[0]
        raise ServeError(f"cannot listen on {host}:{port}: {why}; see --host, {flag}") from error


def reachable(host: str) -> str:
    """An address that reaches a listener on this machine, also where it listens everywhere."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def in_url(host: str) -> str:
    """A host as URLs write it."""
    return f"[{host}]" if ":" in host else host
