"""What all clients share: they are closed when a `with`, or `async with`, block ends, for good."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class _Closable:
    """Something that is of no use once it is closed."""

    _closed = False

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                "the client is closed: make a new one, or ask inside its with block, before close()"
            )


class Connection(_Closable, ABC):
    """Something to close; a context manager. Calls of a closed one raise a RuntimeError."""

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


class AsyncConnection(_Closable, ABC):
    """Something to close in an event loop; an asynchronous context manager.

    Calls of a closed one raise a RuntimeError.
    """

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
