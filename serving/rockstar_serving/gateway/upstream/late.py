"""A model server to which nobody connects before it is asked something."""

import threading
from collections.abc import Callable

from rockstar_client.backend import Backend
from rockstar_serving.gateway.upstream.wrapped import Wrapped


class Late(Wrapped):
    """A backend that is made with the first call; thread-safe."""

    def __init__(self, make: Callable[[], Backend]) -> None:
        """Remember how to make it."""
        self._make = make
        self._made: Backend | None = None
        self._lock = threading.Lock()

    @property
    def _backend(self) -> Backend:  # type: ignore[override]
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def close(self) -> None:
        """See Backend."""
        if self._made is not None:
            self._made.close()
