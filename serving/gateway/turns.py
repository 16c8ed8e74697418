"""Who prepares inputs when: Python runs one thread at a time, and decoded images are large."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A body of so many bytes at most is prepared in a moment.
SMALL_BYTES = 64 * 1024


class Turns:
    """Lets requests prepare their inputs; thread-safe.

    Small ones go one by one: at the same time they would take as long together, and longer for the
    changes between their threads. Others have places of their own, so that a small one never waits
    for a large image.
    """

    def __init__(self, places: int) -> None:
        """Make them.

        Args:
            places: how many requests that are not small prepare at a time; bounds memory.
        """
        self._small = threading.Lock()
        self._others = threading.Semaphore(places)

    @contextmanager
    def take(self, size: int | None, time_left: Callable[[], float]) -> Iterator[None]:
        """Wait for a turn, and have it within the block.

        Args:
            size: bytes of the request's body; None is not known.
            time_left: seconds that the request has; raises where it has none.
        """
        small = size is not None and size <= SMALL_BYTES
        turn = self._small if small else self._others
        while not turn.acquire(timeout=time_left()):
            continue
        try:
            yield
        finally:
            turn.release()
