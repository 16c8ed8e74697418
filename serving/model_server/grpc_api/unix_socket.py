"""The place of a UNIX socket in the file system."""

import os
import socket
import stat
from pathlib import Path

# Of sockaddr_un, less the byte that ends it; macOS has 104.
MAX_PATH_BYTES = 103


def make_room(path: Path) -> None:
    """Clear away the socket of a server that is gone, as one that was killed leaves it behind.

    gRPC itself would take the path from whoever listens there.

    Raises:
        OSError: the path is taken by another server or by something that is no socket, it is too
            long, or its folder is missing.
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise OSError(None, f"the path is longer than {MAX_PATH_BYTES} bytes")
    if not path.parent.is_dir():
        raise OSError(None, "its folder does not exist")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(None, "there is a file of this name that is no socket")
    if _answers(path):
        raise OSError(None, "another server listens there")
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
    return True
