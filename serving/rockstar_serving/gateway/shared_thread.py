"""Many requests in one thread: each goes on until it waits, then another does.

Threads that share an interpreter hand it to each other at every system call and every lock, which
costs as much as the work between. Here a request is a greenlet: to change from one to another costs
a microsecond, and happens only where a request says that it waits. So those that come at the same
time are all prepared, and then go through the model together.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context

from greenlet import getcurrent, greenlet

from rockstar_serving.gateway.turns import Gate, Result, Turns

# Requests that it serves before it looks for new ones, and refuses some where they are too many.
_AT_ONCE = 32

log = logging.getLogger(__name__)


class SharedThread(Turns):
    """The requests of one thread; only what says so may be called from others."""

    def __init__(self, threads: Executor, wake_up: Callable[[], None]) -> None:
        """Begin in the thread that will be shared.

        Args:
            threads: for what takes long.
            wake_up: makes the thread call `go_on` soon; called from any thread.
        """
        super().__init__()
        self._threads = threads
        self._wake_up = wake_up
        self._loop = getcurrent()
        self._thread = threading.get_ident()
        self._ready: deque[_Gate] = deque()
        self._waiting: set[_Gate] = set()
        # Greenlets whose request has ended: a new one would need memory for its stack.
        self._idle: list[greenlet] = []
        self._acts: list[Callable[[], None]] = []
        # Those that it will get to, and how many more it takes before it looks for new ones.
        self._queue: deque[_Gate] = deque()
        self._left = _AT_ONCE

    def start(self, request: Callable[[], None]) -> None:
        """Serve a request until it waits or ends."""
        task = self._idle.pop() if self._idle else greenlet(self._serve, self._loop)
        task.switch(request)

    def _serve(self, request: Callable[[], None]) -> None:
        """What a greenlet does: one request after the other."""
        while True:
            try:
                request()
            except Exception:
                log.exception("a request ended without an answer")
            del request
            self._idle.append(getcurrent())
            request = self._loop.switch()

    def go_on(self) -> None:
        """Serve those that need not wait any more, until all wait for another thread."""
        if self._waiting:
            now = time.monotonic()
            self._ready += [gate for gate in self._waiting if gate.until <= now]
        while self._queue and self._left:
            if (gate := self._queue.popleft()) in self._waiting:
                self._left -= 1
                gate.wake()
        while True:
            while self._ready:
                gate = self._ready.popleft()
                # It may stand here twice: woken just when its time was over.
                if gate in self._waiting:
                    self._waiting.remove(gate)
                    gate.task.switch()
            for act in self._acts:
                act()
            if not self._ready:
                self._left = _AT_ONCE
                return

    def patience(self) -> float:
        """Seconds until `go_on` must be called although nobody was woken; may be infinite."""
        if self._queue:
            return 0.0
        if not self._waiting:
            return math.inf
        return max(0.0, min(gate.until for gate in self._waiting) - time.monotonic())

    def shared(self) -> bool:
        """See Turns; from any thread."""
        return threading.get_ident() == self._thread and getcurrent() is not self._loop

    def turn(self, seconds: float) -> bool:
        """See Turns; within the thread."""
        if self._left and not self._queue:
            self._left -= 1
            return True
        gate = _Gate(self, getcurrent())
        self._queue.append(gate)
        return gate.wait(seconds)

    def gate(self) -> Gate:
        """See Turns; from any thread."""
        return _Gate(self, getcurrent()) if self.shared() else super().gate()

    def aside(self, work: Callable[[], Result]) -> Result:
        """See Turns; from any thread."""
        if not self.shared():
            return work()
        gate = self.gate()
        future = self._threads.submit(copy_context().run, work)
        future.add_done_callback(lambda _: gate.wake())
        gate.wait(math.inf)
        return future.result()

    def at_rest(self, act: Callable[[], None]) -> None:
        """See Turns."""
        self._acts.append(act)

    def wait(self, gate: "_Gate") -> None:
        """Let others go on; for gates."""
        self._waiting.add(gate)
        self._loop.switch()

    def woken(self, gate: "_Gate") -> None:
        """Have a gate's request go on; for gates, from any thread."""
        self._ready.append(gate)
        if threading.get_ident() != self._thread:
            self._wake_up()


class _Gate:
    def __init__(self, thread: SharedThread, task: greenlet) -> None:
        self._thread = thread
        self._woken = False
        self.task = task
        self.until = math.inf

    def wait(self, seconds: float) -> bool:
        if not self._woken:
            self.until = time.monotonic() + seconds
            self._thread.wait(self)
        return self._woken

    def wake(self) -> None:
        self._woken = True
        self._thread.woken(self)
