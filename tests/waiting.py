"""Waits for conditions instead of for time."""

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 30.0, what: str = "it") -> None:
    """Return when the condition holds; fail after some seconds."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds:g} s"
        pause.wait(0.02)
