"""Base classes of clients, and a connection for each event loop.

asyncio is imported where it is used: blocking clients start sooner without it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Connected = TypeVar("Connected")


class _Closable:
    """Raises a RuntimeError when it is used after it was closed."""

    _closed = False

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                "the client is closed: make a new one, or call it in its with block, before close()"
            )


class Connection(_Closable, ABC):
    """A client and context manager; calls after `close` raise a RuntimeError."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; it cannot be reopened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncConnection(_Closable, ABC):
    """An asynchronous client and context manager; calls after `close` raise a RuntimeError."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection; it cannot be reopened."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class PerLoop(Generic[Connected]):
    """Creates a connection for each event loop that a client is used in.

    A connection only works in the loop in which it was created. With one for each, a client works
    in several threads with their own loops, and in one `asyncio.run` after the other. A pickled
    copy starts without connections.
    """

    def __init__(
        self,
        connect: Callable[[], Connected],
        disconnect: Callable[[Connected], Coroutine[Any, Any, object]],
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        # By process and loop. A forked process leaves inherited connections alone: closing them
        # would also change the event notifications of its parent.
        self._connected: dict[tuple[int, AbstractEventLoop], Connected] = {}

    async def get(self) -> Connected:
        """Return the connection of the running loop; create it if necessary."""
        from asyncio import get_running_loop

        here = os.getpid(), get_running_loop()
        if here not in self._connected:
            for process, loop in list(self._connected):
                if process == here[0] and loop.is_closed():
                    await self._disconnect(self._connected.pop((process, loop)))
            self._connected.setdefault(here, self._connect())
        return self._connected[here]

    async def close(self) -> None:
        """Close all connections; those of other open loops are closed in these loops, later."""
        from asyncio import get_running_loop, run_coroutine_threadsafe

        running = get_running_loop()
        for process, loop in list(self._connected):
            if process == os.getpid():
                connected = self._connected.pop((process, loop))
                if loop is running or loop.is_closed():
                    await self._disconnect(connected)
                else:
                    run_coroutine_threadsafe(self._disconnect(connected), loop)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._connect, self._disconnect)
