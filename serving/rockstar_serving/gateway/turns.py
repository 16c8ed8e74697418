"""How the requests of a worker take turns: what they wait with, and what they leave to a thread."""

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class Gate(Protocol):
    """What one request waits at, once."""

    def wait(self, seconds: float) -> bool:
        """Wait for `wake`; False where the time was over first."""

    def wake(self) -> None:
        """Let it go on; from any thread, once."""


class Turns:
    """Each request has a thread of its own; `SharedThread` is the other way.

    Attributes:
        full: whether as many requests are held as there is room for.
        refused: whether a request has just been refused for that in a shared thread.
    """

    def __init__(self) -> None:
        self.full = False
        self.refused = False

    def shared(self) -> bool:
        """Whether the current request shares its thread with others, whom it must not hold up."""
        return False

    def turn(self, _seconds: float) -> bool:
        """Wait until a shared thread gets to this request; False: the time was over first."""
        return True

    def gate(self) -> Gate:
        """For the current request."""
        return _ThreadGate()

    def aside(self, work: Callable[[], Result]) -> Result:
        """Do what takes long, or waits for something, so that it holds up nobody."""
        return work()

    def at_rest(self, act: Callable[[], None]) -> None:
        """Have something done whenever all the requests of a shared thread wait."""


class _ThreadGate:
    # A bare lock wakes one thread in the shortest time that there is.
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, seconds: float) -> bool:
        return self._lock.acquire(timeout=max(0.0, seconds))

    def wake(self) -> None:
        self._lock.release()
