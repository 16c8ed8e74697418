"""Refusals without work: what was just said to a request that was one too many, others hear too."""

import logging
import re
from time import monotonic
from typing import TYPE_CHECKING

from rockstar_serving.gateway.ids import new_id
from rockstar_serving.gateway.seldom import Seldom

if TYPE_CHECKING:
    # The process that starts workers does without Flask and NumPy, which that brings.
    from rockstar_serving.gateway.observer import Observer

# As long as the second in its Date.
_FRESH_S = 1.0
# What the answer to a request depends on, where it is refused anyway.
_ALIKE = re.compile(rb"POST (/[^/]*/)[^ ]* HTTP/1\.1\r\n")
_APART = re.compile(rb"\r\n(?:origin|x-request-id|connection:[^\r]*close)[ \t:\r]", re.IGNORECASE)
_ID = re.compile(rb"\r\nX-Request-ID: ([0-9a-f]{32})\r\n")

log = logging.getLogger(__name__)


class Refusals:
    """The last refusals of one worker, each for requests of one kind.

    To ask the application would take half as long as to serve the request, when there is no time.
    """

    def __init__(self, observer: "Observer") -> None:
        """Begin without any.

        Args:
            observer: told of those that the application does not learn of.
        """
        self._observer = observer
        self._seldom = Seldom(log)
        # By kind: the answer, the id of its request, and when it was given (monotonic).
        self._given: dict[bytes, tuple[bytes, bytes, float]] = {}
        self._untold = 0

    def keep(self, request: bytes, answer: bytes) -> None:
        """Note what the application said to a request that was one too many."""
        kind, found = _kind(request), _ID.search(answer)
        if kind is not None and found is not None:
            self._given[kind] = (answer, found[1], monotonic())

    def again(self, request: bytes) -> bytes | None:
        """The same for a request like it, with an id of its own; None: ask the application."""
        kind = _kind(request)
        given = self._given.get(kind) if kind is not None else None
        if given is None:
            return None
        answer, request_id, at = given
        if monotonic() - at > _FRESH_S:
            return None
        self._untold += 1
        return answer.replace(request_id, new_id(16).encode())

    def tell(self) -> None:
        """Have counted, and logged now and then, what was refused since the last time."""
        if self._untold:
            refused, self._untold = self._untold, 0
            self._observer.refused("queue", refused)
            self._seldom.warn("refused %d requests: as many are held as there is room for", refused)


def _kind(request: bytes) -> bytes | None:
    """What requests that are answered alike have in common; None where one is apart."""
    alike = _ALIKE.match(request)
    return None if alike is None or _APART.search(request) else alike[1]
