"""As many requests at a time as there is room for; some more wait, and the rest is refused at once.

A WSGI middleware: it decides before a body is read. Refusals are said by the application, in the
manner of the API that the request came to; it is told by `verdict`.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from rockstar_serving.gateway.observer import Observer
from rockstar_serving.gateway.turns import Turns

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

Verdict = Literal["admitted", "full", "late"]

# How often it is told how many requests there are that share a thread: they come and go many at a
# time.
_PAUSE_S = 0.1

_VERDICT = "rockstar.verdict"
_ARRIVED = "rockstar.arrived"


class Admission:
    """Lets requests in; one for each worker process."""

    def __init__(
        self,
        application: "WSGIApplication",
        *,
        at_once: int,
        waiting: int,
        patience: Callable[[dict[str, Any]], float],
        always: Callable[[str], bool],
        observer: Observer,
        turns: Turns,
    ) -> None:
        """Wrap an application.

        Args:
            application: to let requests into.
            at_once: how many requests it works on at a time.
            waiting: how many more may wait for that.
            patience: seconds that a request may take, from its WSGI environment.
            always: whether a path is let in however full it is.
            observer: told how many there are.
            turns: those that share a thread need no room: one goes on at a time.
        """
        self._application = application
        self._room = threading.Semaphore(at_once)
        self._most = at_once + waiting
        self._patience = patience
        self._always = always
        self._observer = observer
        self._turns = turns
        self._lock = threading.Lock()
        self._in_flight = self._told = 0
        self._tell_again = 0.0
        turns.at_rest(self._tell_now_and_then)

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        environ[_ARRIVED] = time.monotonic()
        if self._always(environ.get("PATH_INFO", "")):
            return self._application(environ, start_response)
        if not self._enter():
            environ[_VERDICT] = "full"
            if self._turns.shared():
                self._turns.refused = True
            return self._application(environ, start_response)
        try:
            if self._turns.shared():
                if not self._turns.turn(self._patience(environ)):
                    environ[_VERDICT] = "late"
                return self._application(environ, start_response)
            if not self._room.acquire(timeout=self._patience(environ)):
                environ[_VERDICT] = "late"
                return self._application(environ, start_response)
            try:
                return self._application(environ, start_response)
            finally:
                self._room.release()
        finally:
            self._leave()

    def _enter(self) -> bool:
        with self._lock:
            if self._in_flight >= self._most:
                return False
            self._in_flight += 1
            self._turns.full = self._in_flight >= self._most
        self._changed()
        return True

    def _leave(self) -> None:
        with self._lock:
            self._in_flight -= 1
            self._turns.full = False
        self._changed()

    def _changed(self) -> None:
        if not self._turns.shared():
            self._tell()

    def _tell_now_and_then(self) -> None:
        if self._in_flight != self._told and (now := time.monotonic()) >= self._tell_again:
            self._tell_again = now + _PAUSE_S
            self._tell()

    def _tell(self) -> None:
        now = self._in_flight
        if now != self._told:
            self._told = now
            self._observer.in_flight(now)


def verdict(environ: dict[str, Any]) -> Verdict:
    """What was decided on a request: "late" is one whose time was over while it waited."""
    decided: Verdict = environ.get(_VERDICT, "admitted")
    return decided


def arrived(environ: dict[str, Any]) -> float:
    """When a request came, in monotonic seconds."""
    at: float = environ[_ARRIVED]
    return at
