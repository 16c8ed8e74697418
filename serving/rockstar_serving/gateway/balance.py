"""Connections are shared out evenly: a worker leaves new ones to those that have fewer.

A connection stays with the worker that takes it in, and brings one request after the other. Whoever
looks first would take most of those that come at once, and keep them while others are idle.
"""

import mmap
from time import monotonic

# More than workers and those that replace them; a worker's place is its number in them.
_PLACES = 256
_NOBODY = -1
# A worker holds off until others have had the time to look, and not for ever: they may be busy.
_PAUSE_S = 0.002
_PATIENCE_S = 0.02


class Connections:
    """How many connections each worker has, in memory that they share."""

    def __init__(self) -> None:
        """Make it before workers are forked."""
        self._counts = memoryview(mmap.mmap(-1, 4 * _PLACES)).cast("i")
        for place in range(_PLACES):
            self._counts[place] = _NOBODY

    def tell(self, worker: int, connections: int) -> None:
        """Note how many a worker has."""
        self._counts[worker % _PLACES] = connections

    def leave(self, worker: int) -> None:
        """A worker takes no more, or has ended."""
        self._counts[worker % _PLACES] = _NOBODY

    def fewest_of_others(self, worker: int) -> int | None:
        """Of the workers but this one; None where there is no other."""
        counts = self._counts.tolist()
        counts[worker % _PLACES] = _NOBODY
        return min((count for count in counts if count != _NOBODY), default=None)


class Share:
    """What one worker may take in."""

    def __init__(self, connections: Connections, worker: int) -> None:
        self._connections = connections
        self._worker = worker
        self._held_since: float | None = None
        # Monotonic seconds until when it does not look for new connections.
        self.pause_until = 0.0

    def tell(self, connections: int) -> None:
        """Note how many it has."""
        self._connections.tell(self._worker, connections)

    def leave(self) -> None:
        """It takes no more."""
        self._connections.leave(self._worker)

    def takes_another(self, connections: int) -> bool:
        """Whether it takes one in beside those that it has; if not, it pauses."""
        fewest = self._connections.fewest_of_others(self._worker)
        # Some more, so that many are taken in soon.
        if fewest is None or connections <= fewest + 1 + fewest // 8:
            self._held_since = None
            return True
        now = monotonic()
        if self._held_since is None:
            self._held_since = now
        if now - self._held_since > _PATIENCE_S:
            return True
        self.pause_until = now + _PAUSE_S
        return False
