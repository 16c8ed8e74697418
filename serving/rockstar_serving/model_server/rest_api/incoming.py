"""Requests on their way in."""

import time
from typing import Any

from waitress.parser import HTTPRequestParser

from rockstar_serving.model_server.rest_api.large_body import LargeBody

# Bodies of at least so many bytes are received straight into memory of their own.
_LARGE = 512 * 2**10


class Incoming(HTTPRequestParser):
    """A request on its way in, and the two things that are done with it just once.

    Attributes:
        received_at: when it was complete, on the clock of time.monotonic().
    """

    received_at = 0.0

    def __init__(self, adjustments: Any) -> None:
        super().__init__(adjustments)
        self._turns, self._answers = [None], [None]

    def begin(self) -> bool:
        """Whether who calls may begin its work, or see to it that nobody does."""
        return _take(self._turns)

    def claim(self) -> bool:
        """Whether who calls may answer it."""
        return _take(self._answers)

    @property
    def claimed(self) -> bool:
        """Whether somebody answers it."""
        return not self._answers

    def parse_header(self, header_plus: bytes) -> None:
        """Read the header, and make room for the body."""
        super().parse_header(header_plus)
        if not self.chunked and _LARGE <= self.content_length < self.adj.max_request_body_size:
            receiver: Any = LargeBody(self.content_length)
            self.body_rcv = receiver

    def received(self, data: bytes) -> int:
        """Take bytes of the request."""
        consumed: int = super().received(data)
        if self.completed:
            self.received_at = time.monotonic()
            # Refused, or without a body. Waitress waits for one after its 100.
            self.expect_continue = False
        return consumed


def _take(tokens: list[None]) -> bool:
    try:
        tokens.pop()  # which is atomic
    except IndexError:
        return False
    return True
