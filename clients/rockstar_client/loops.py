"""One connection per event loop and process: a connection only works in the loop it is made in."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Connected = TypeVar("Connected")


class PerLoop(Generic[Connected]):
    """Creates a connection for each event loop that a client is used in.

    One client therefore works in several threads with their own loops, and in one `asyncio.run`
    after the other. A pickled copy starts without connections.
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
        self._connected: dict[tuple[int, asyncio.AbstractEventLoop], Connected] = {}

    async def get(self) -> Connected:
        """The connection of the running loop, created if necessary."""
        here = os.getpid(), asyncio.get_running_loop()
        if here not in self._connected:
            for made_in, earlier in list(self._connected):
                if made_in == here[0] and earlier.is_closed():
                    await self._disconnect(self._connected.pop((made_in, earlier)))
            self._connected.setdefault(here, self._connect())
        return self._connected[here]

    async def close(self) -> None:
        """Close all connections; those of other open loops are closed in these loops, later."""
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
