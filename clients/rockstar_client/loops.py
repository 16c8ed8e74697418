"""Connections in event loops: each belongs to the loop, and the process, that it is made in."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Connected = TypeVar("Connected")


class PerLoop(Generic[Connected]):
    """What clients connect in an event loop: once for each loop that they are used from.

    So one client works in threads that have loops of their own, and in one `asyncio.run` after the
    other. Pickled, it is unconnected again.
    """

    def __init__(
        self,
        connect: Callable[[], Connected],
        disconnect: Callable[[Connected], Coroutine[Any, Any, object]],
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        # By process and loop. What a forked process inherits stays as it is: closing it there would
        # also change what its parent waits for.
        self._connected: dict[tuple[int, asyncio.AbstractEventLoop], Connected] = {}

    async def get(self) -> Connected:
        """What belongs to the running loop."""
        here = os.getpid(), asyncio.get_running_loop()
        if here not in self._connected:
            for made_in, earlier in list(self._connected):
                if made_in == here[0] and earlier.is_closed():
                    await self._disconnect(self._connected.pop((made_in, earlier)))
            self._connected.setdefault(here, self._connect())
        return self._connected[here]

    async def close(self) -> None:
        """Disconnect; what belongs to other loops that are open is closed in their time."""
        running = asyncio.get_running_loop()
        for process, loop in list(self._connected):
            if process == os.getpid():
                connected = self._connected.pop((process, loop))
                if loop is running or loop.is_closed():
                    await self._disconnect(connected)
                else:
                    asyncio.run_coroutine_threadsafe(self._disconnect(connected), loop)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._connect, self._disconnect)
