"""What all clients share: they are closed when a `with`, or `async with`, block ends."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Connection(ABC):
    """Something to close; a context manager."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the other side."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncConnection(ABC):
    """Something to close in an event loop; an asynchronous context manager."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the other side."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
