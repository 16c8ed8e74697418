"""The file of a UNIX socket: who listens there, and who removes it."""

import logging
import os
import secrets
import socket
from pathlib import Path

# Of sockaddr_un, less the byte that ends it; macOS has 104.
MAX_PATH_BYTES = 103

log = logging.getLogger(__name__)


class SocketFile:
    """A path that a gRPC server listens at, also when an earlier server does so already.

    gRPC takes a path over from whoever listens there, and a server that stops deletes the path,
    whoever owns it by then. So the socket is bound under a temporary name and moved onto the path,
    which no client ever finds missing, and a server removes only what is still its own.
    """

    def __init__(self, path: Path) -> None:
        """Name a path; nothing is bound yet."""
        self.path = path
        self.bound_as = path.with_name(f".{secrets.token_hex(2)}")
        self._identity: tuple[int, ...] | None = None

    def check(self) -> None:
        """Find out why the path cannot be bound, which gRPC does not say.

        Raises:
            OSError: it is too long, its folder is missing or not writable, or there is a file that
                is no socket.
        """
        if max(len(os.fsencode(path)) for path in (self.path, self.bound_as)) > MAX_PATH_BYTES:
            raise OSError(None, f"the path is longer than {MAX_PATH_BYTES} bytes")
        if not self.path.parent.is_dir():
            raise OSError(None, "its folder does not exist")
        if os.path.lexists(self.path) and not self.path.is_socket():
            raise OSError(None, "there is a file of this name that is no socket")
        with socket.socket(socket.AF_UNIX) as plain:
            plain.bind(os.fspath(self.bound_as))
        self.bound_as.unlink()

    def publish(self) -> None:
        """Move the bound socket onto the path, from which moment clients reach it."""
        if _answers(self.path):
            log.warning(
                "another server listens on %s (--grpc_socket_path): new connections go to this "
                "one from now on, and the other keeps those it has",
                self.path,
            )
        self._identity = _identity(self.bound_as)
        self.bound_as.replace(self.path)

    def remove(self) -> None:
        """Remove the path unless a newer server has taken it over."""
        if self._identity is not None and _identity(self.path) == self._identity:
            self.path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, ...] | None:
    """What a newer socket file does not share, even one whose inode number is used again."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True
