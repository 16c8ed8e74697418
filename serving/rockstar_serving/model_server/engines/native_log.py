"""LiteRT's own log, without its INFO lines.

LiteRT has no setting for it: the first interpreter of a process writes "INFO: Created TensorFlow
Lite XNNPACK delegate for CPU." to file descriptor 2.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator

_STDERR = 2
_lock = threading.Lock()
_done = threading.Event()


@contextlib.contextmanager
def without_info() -> Iterator[None]:
    """Drop the INFO lines that native code writes in the first such body of a process.

    All other lines, of other threads too, are passed on when the body ends. Bodies that start
    meanwhile wait for it; later ones run as they are.
    """
    with contextlib.ExitStack() as stack:
        if not _done.is_set():
            stack.enter_context(_lock)
        if not _done.is_set():
            stack.callback(_done.set)
            stack.enter_context(_without_info())
        yield


@contextlib.contextmanager
def _without_info() -> Iterator[None]:
    try:
        lines, stderr = tempfile.TemporaryFile(), os.dup(_STDERR)  # noqa: SIM115
    except OSError:  # no room for a file, or stderr is closed: better a line too many
        yield
        return
    with lines:
        os.dup2(lines.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            lines.seek(0)
            for line in lines:
                if not line.startswith(b"INFO: "):
                    os.write(_STDERR, line)
