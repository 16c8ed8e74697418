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

    def gettimeout(self) -> float:
        """Nothing blocks."""
        return 0.0
