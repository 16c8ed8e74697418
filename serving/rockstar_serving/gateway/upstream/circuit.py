"""A model that does not answer: say so at once, instead of letting every caller wait in vain.

Where there is no connection, gRPC itself lets calls fail at once, and connects again by itself. A
server that is connected but silent, it cannot tell from a slow one. So after several calls in a row
that were given enough time and got no answer, those that follow are refused, but for one at a time
that tries again; the first answer ends that.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rockstar_client.backend import Backend
from rockstar_client.errors import CallError, DeadlineExceededError, UnavailableError
from rockstar_serving.gateway.observers import Observer
from rockstar_serving.gateway.upstream.wrapped import Answer, Wrapped
from tfs_api.status import Code

# Calls in a row without an answer that open the circuit.
FAILURES = 5
# How long, in seconds, after a try in vain the next one may come.
PAUSE_S = 1.0


@dataclass
class _Silence:
    """Of one model: calls in a row without an answer, and when the next try may be (monotonic)."""

    calls: int = 0
    next_try: float = 0.0


class Circuit(Wrapped):
    """A backend that is spared calls to models that do not answer; thread-safe."""

    def __init__(self, backend: Backend, observer: Observer, enough: float) -> None:
        """Wrap a backend.

        Args:
            backend: makes the calls.
            observer: told of refusals.
            enough: a call that was given fewer seconds says nothing about the server.
        """
        super().__init__(backend)
        self._observer = observer
        self._enough = enough
        self._lock = threading.Lock()
        # Only models that were silent just now are in it: as a rule it is empty.
        self._silent: dict[str, _Silence] = {}

    def _run(
        self, method: Callable[..., Answer], model: str, *arguments: Any, **options: Any
    ) -> Answer:
        if self._silent and not self._may_try(model):
            self._observer.refused("circuit")
            raise UnavailableError(Code.UNAVAILABLE, f"model {model} does not answer")
        try:
            answer = method(model, *arguments, **options)
        except DeadlineExceededError:
            if options.get("timeout") is None or options["timeout"] >= self._enough:
                self._note_silence(model)
            raise
        except CallError:
            self._silent.pop(model, None)
            raise
        if self._silent:
            self._silent.pop(model, None)
        return answer

    def _may_try(self, model: str) -> bool:
        with self._lock:
            silence, now = self._silent.get(model), time.monotonic()
            if silence is None or silence.calls < FAILURES:
                return True
            if now < silence.next_try:
                return False
            silence.next_try = now + PAUSE_S
            return True

    def _note_silence(self, model: str) -> None:
        with self._lock:
            silence = self._silent.setdefault(model, _Silence())
            silence.calls += 1
            silence.next_try = time.monotonic() + PAUSE_S
