"""Waiting for what other threads and processes do."""

import threading
import time
from collections.abc import Callable

DEADLINE = 30.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as the condition holds; fail after a generous while."""
    deadline = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        pause.wait(0.01)
