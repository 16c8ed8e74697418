"""Limits concurrent requests: some run, some wait in a queue, the rest are rejected at once.

A WSGI middleware that decides before a body is read. The application writes the rejections, in the
error format of the requested API; the WSGI variable VERDICT has the decision.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rockstar_serving.gateway.observers import Observer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

# WSGI variables: "full", or "late" if the timeout ended in the queue; absent if admitted.
VERDICT = "rockstar.verdict"
# When the request arrived, in monotonic seconds.
ARRIVED = "rockstar.arrived"


class Admission:
    """Admits requests; one instance for each worker process."""

    def __init__(
        self,
        application: "WSGIApplication",
        *,
        at_once: int,
        waiting: int,
        timeout: Callable[[dict[str, Any]], float],
        always: Callable[[str], bool],
        observer: Observer,
    ) -> None:
        """Wrap an application.

        Args:
            application: handles the requests.
            at_once: maximum number of requests that run at a time.
            waiting: maximum number of further requests that wait.
            timeout: timeout of a request in seconds, from its WSGI environment.
            always: whether a path is admitted without a limit.
            observer: gets the number of requests.
        """
        self._application = application
        self._room = threading.Semaphore(at_once)
        self._most = at_once + waiting
        self._timeout = timeout
        self._always = always
        self._observer = observer
        self._lock = threading.Lock()
        self._in_flight = 0

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        environ[ARRIVED] = time.monotonic()
        if self._always(environ.get("PATH_INFO", "")):
            return self._application(environ, start_response)
        with self._lock:
            full = self._in_flight >= self._most
            self._in_flight += not full
        if full:
            environ[VERDICT] = "full"
            return self._application(environ, start_response)
        self._observer.in_flight(self._in_flight)
        try:
            if not self._room.acquire(timeout=self._timeout(environ)):
                environ[VERDICT] = "late"
                return self._application(environ, start_response)
            try:
                return self._application(environ, start_response)
            finally:
                self._room.release()
        finally:
            with self._lock:
                self._in_flight -= 1
            self._observer.in_flight(self._in_flight)
