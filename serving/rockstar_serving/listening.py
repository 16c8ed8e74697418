"""Addresses to listen on, with errors that name the user's flags."""

import errno
import socket

from rockstar_serving.supervisor import ServeError


def require_free(host: str, port: int, flag: str) -> None:
    """Check that a port that a child process will bind is free.

    The error names the user's flag, the child's would name its own. Raises like `listener`.
    """
    listener(host, port, flag).close()


def listener(host: str, port: int, flag: str) -> socket.socket:
    """A listening socket; port 0 picks a free one.

    Raises:
        ServeError: the port is taken, or the host is not of this machine; it names the flag.
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
    """An address that reaches a listener on this machine, even if it listens on all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
