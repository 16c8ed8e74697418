"""Base classes of clients: context managers that cannot be used after `close`."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class _Closable:
    """Raises a RuntimeError when it is used after it was closed."""

    _closed = False

    def _require_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                "the client is closed: make a new one, or ask inside its with block, before close()"
            )


class Connection(_Closable, ABC):
    """A client and context manager; calls after `close` raise a RuntimeError."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; it cannot be reopened."""

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
    """An asynchronous client and context manager; calls after `close` raise a RuntimeError."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection; it cannot be reopened."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
