"""Supervises child processes: start them, restart those that end, stop them in reverse order."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event
from types import FrameType

from rockstar_serving import ServeError

log = logging.getLogger(__name__)

# Seconds that all children may take to become ready, and one to stop before it is killed.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 4.0
# The pauses before a child that ends within so many seconds of its start is started again: the
# first, doubled each time, and the longest.
QUICK_S = 10.0
FIRST_PAUSE_S = 0.4
LAST_PAUSE_S = 10.0
_POLL_S = 0.1
# Seconds between two calls of `refresh`.
REFRESH_S = 1.0
# glibc gives each thread an arena of its own and keeps its memory. Threads that share Python's lock
# are as fast with two arenas, and a worker has 11 MB less after a load. The memory of large images
# is returned at once, unless glibc may raise its threshold: after 16 concurrent images of 16
# megapixels a worker has 235 MB instead of 570 MB.
_LESS_MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}


@dataclass
class Child:
    """A process to keep running.

    Attributes:
        name: in messages.
        command: returns the arguments of the process; called at each start.
        is_ready: polled until it returns True.
        pass_fds: file descriptors that the process inherits.
        stop_timeout: seconds it may take to stop before it is killed.
        reloads: whether it gets the SIGHUPs that the supervisor gets.
    """

    name: str
    command: Callable[[], list[str]]
    is_ready: Callable[[], bool]
    pass_fds: tuple[int, ...] = ()
    stop_timeout: float = STOP_TIMEOUT_S
    reloads: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started: float = field(default=0.0, init=False)
    pause: float = field(default=0.0, init=False)
    next_start: float | None = field(default=None, init=False)
    restarted: bool = field(default=False, init=False)
    # Process groups of this process and the one before, whose own children may still run.
    groups: deque[int] = field(default_factory=lambda: deque(maxlen=2), init=False)

    def start(self) -> None:
        """Start the process, in a session of its own so that Ctrl-C reaches only the supervisor."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command(),
            pass_fds=self.pass_fds,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            env=_LESS_MEMORY | os.environ,
            preexec_fn=at_end_of_parent(signal.SIGTERM),
        )
        self.groups.append(self.process.pid)

    def stop(self) -> None:
        """Terminate the process, and kill it if it does not end in time."""
        if self.process is not None and self.exit_code is None:
            self.process.terminate()
            try:
                self.process.wait(self.stop_timeout)
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop within %g s: killed", self.name, self.stop_timeout)
                self.process.kill()
                self.process.wait()
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and its own children."""
        for group in self.groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self.process is None else self.process.poll()


class Supervisor:
    """Keeps child processes running until it is stopped."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self._stopping = Event()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """In this context SIGINT and SIGTERM stop the supervisor, and SIGHUP is passed on.

        A second one kills the children instead of waiting for their requests in flight.
        """

        def stop(number: int, _frame: FrameType | None) -> None:
            if self._stopping.is_set():
                log.warning("%s again: stopped at once", signal.Signals(number).name)
                for child in self._children:
                    child.kill()
            self.stop()

        def reload(_number: int, _frame: FrameType | None) -> None:
            for child in self._children:
                if child.reloads and child.process is not None and child.exit_code is None:
                    child.process.send_signal(signal.SIGHUP)

        handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Make `start` and `watch` return; safe in a signal handler and from other threads."""
        self._stopping.set()

    def start(self) -> bool:
        """Start all children, and wait until each is ready.

        Returns:
            False if it was stopped meanwhile.

        Raises:
            ServeError: a child ended or was not ready in time.
        """
        for child in self._children:
            child.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        waiting = self._children
        while waiting := [child for child in waiting if not child.is_ready()]:
            if self._stopping.wait(_POLL_S / 2):
                return False
            for child in waiting:
                if child.exit_code is not None:
                    raise ServeError(f"the {child.name} did not start ({_cause(child.exit_code)})")
            if time.monotonic() > deadline:
                names = " and the ".join(child.name for child in waiting)
                raise ServeError(f"not ready within {START_TIMEOUT_S:g} s: the {names}")
        return True

    def watch(self, refresh: Callable[[], object] | None = None) -> None:
        """Restart children that end, until it is stopped; calls `refresh` about once a second."""
        next_refresh = time.monotonic()
        while not self._stopping.wait(_POLL_S):
            if refresh is not None and time.monotonic() >= next_refresh:
                next_refresh = time.monotonic() + REFRESH_S
                refresh()
            for child in self._children:
                if child.exit_code is not None:
                    self._restart(child, child.exit_code)
                elif child.restarted and child.is_ready():
                    child.restarted = False
                    log.info("the %s is back", child.name)

    def shut_down(self) -> None:
        """Stop the children, the last one first, so that requests in flight can finish."""
        for child in reversed(self._children):
            child.stop()

    def _restart(self, child: Child, code: int) -> None:
        """Start a child that has ended; after a pause, if it ends again and again.

        What it lacks, such as its port, may be there later; the other children keep serving.
        """
        now = time.monotonic()
        if child.next_start is None:
            quick = now - child.started < QUICK_S
            child.pause = min(2 * child.pause or FIRST_PAUSE_S, LAST_PAUSE_S) if quick else 0.0
            child.next_start = now + child.pause
            when = f" in {child.pause:g} s" if quick else ""
            log.warning("the %s ended (%s): starting it again%s", child.name, _cause(code), when)
        if now < child.next_start:
            return
        child.next_start = None
        try:
            child.start()
        except OSError as error:  # no memory or file descriptors
            log.warning("the %s cannot be started now: %s", child.name, error)
        else:
            child.restarted = True


def at_end_of_parent(number: signal.Signals) -> Callable[[], object]:
    """A function that makes its process get a signal when its parent ends, even by SIGKILL.

    It does nothing but on Linux: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform != "linux":
        return lambda: None
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, number)


def _cause(code: int) -> str:
    if code == -signal.SIGKILL:
        return "signal SIGKILL, perhaps because memory ran out"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
