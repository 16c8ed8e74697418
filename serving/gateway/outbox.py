"""What a request has to say to its client, until it is sent in one piece."""


class Outbox:
    """Stands for a connection where a request is answered that is there as a whole."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Add to what is sent."""
        self._parts.append(bytes(data))

    def content(self) -> bytes:
        """All that was said."""
        return b"".join(self._parts)

    def recv(self, _size: int) -> bytes:
        """Nothing: there is no more to come."""
        return b""

    def gettimeout(self) -> float:
        """Nothing blocks."""
        return 0.0

    def settimeout(self, _seconds: float | None) -> None:
        """Nothing blocks."""

    def setblocking(self, _blocking: bool) -> None:
        """Nothing blocks."""

    def shutdown(self, _how: int) -> None:
        """The connection is closed by whoever sends the content."""

    def close(self) -> None:
        """The connection is closed by whoever sends the content."""
