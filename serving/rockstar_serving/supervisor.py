"""Child processes that belong together: start in order, restart what dies, stop in reverse."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event
from types import FrameType

log = logging.getLogger(__name__)

# Seconds a child may take to become ready, and to stop before it is killed.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 4.0
# A child that dies this often, each time within so many seconds, is beyond help.
MAX_QUICK_DEATHS = 5
QUICK_S = 10.0
_POLL_S = 0.1
# Seconds between two calls of what looks for changes.
REFRESH_S = 1.0
# glibc gives each thread an arena of its own, which keeps what the thread once needed. Threads that
# take turns with Python's lock do as well with two: after a load, 11 MB less, and no slower. What
# large images take goes back at once, unless glibc may learn from it to keep more: after 16 of 16
# megapixels at a time a worker has 235 MB, and had 570.
_LESS_MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}


class ServeError(Exception):
    """The service cannot start or go on; the message is for the user."""


@dataclass
class Child:
    """A process to keep alive.

    Attributes:
        name: what messages call it.
        command: gives the arguments of the process, at each start.
        is_ready: asked repeatedly until it says yes.
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
    quick_deaths: int = field(default=0, init=False)
    restarted: bool = field(default=False, init=False)

    def start(self) -> None:
        """Start the process, in a session of its own so that Ctrl-C reaches only the supervisor."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command(),
            pass_fds=self.pass_fds,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            env=_LESS_MEMORY | os.environ,
            preexec_fn=_end_with_parent() if sys.platform == "linux" else None,
        )

    def stop(self) -> None:
        """Ask the process to end, and end it if it does not in time."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop within %g s: killed", self.name, self.stop_timeout)
            self.process.kill()
            self.process.wait()

    def reload(self) -> None:
        """Ask the process to read its files again, if it does such a thing."""
        if self.reloads and self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self.process is None else self.process.poll()


class Supervisor:
    """Keeps children running until told to stop."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self._stopping = Event()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """While this context lasts, SIGINT and SIGTERM stop the supervisor; SIGHUP is passed on."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        def reload(_number: int, _frame: FrameType | None) -> None:
            for child in self._children:
                child.reload()

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
        """Start the children in order, each when the one before is ready.

        Returns:
            False where it was told to stop meanwhile.

        Raises:
            ServeError: a child ended or was not ready in time.
        """
        for child in self._children:
            child.start()
            if not self._until_ready(child):
                return False
        return True

    def watch(self, refresh: Callable[[], None] = lambda: None) -> None:
        """Restart children that die, until told to stop.

        Args:
            refresh: called about once a second.

        Raises:
            ServeError: a child dies again and again.
        """
        next_refresh = time.monotonic()
        while not self._stopping.wait(_POLL_S):
            if time.monotonic() >= next_refresh:
                next_refresh = time.monotonic() + REFRESH_S
                refresh()
            for child in self._children:
                if child.exit_code is not None:
                    self._restart(child)
                elif child.restarted and child.is_ready():
                    child.restarted = False
                    log.info("the %s is back", child.name)

    def shut_down(self) -> None:
        """Stop the children, the last one first, so that requests in flight can finish."""
        for child in reversed(self._children):
            child.stop()

    def _until_ready(self, child: Child) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not child.is_ready():
            if self._stopping.wait(_POLL_S / 2):
                return False
            if child.exit_code is not None:
                raise ServeError(f"the {child.name} did not start ({_how(child.exit_code)})")
            if time.monotonic() > deadline:
                raise ServeError(f"the {child.name} was not ready within {START_TIMEOUT_S:g} s")
        return True

    def _restart(self, child: Child) -> None:
        code = child.exit_code or 0
        quick = time.monotonic() - child.started < QUICK_S
        child.quick_deaths = child.quick_deaths + 1 if quick else 0
        if child.quick_deaths >= MAX_QUICK_DEATHS:
            raise ServeError(
                f"the {child.name} ended {MAX_QUICK_DEATHS} times in a row ({_how(code)})"
            )
        log.warning("the %s ended (%s): starting it again", child.name, _how(code))
        if self._stopping.wait(0.2 * 2**child.quick_deaths if quick else 0):
            return
        child.start()
        child.restarted = True


def _end_with_parent() -> Callable[[], object]:
    """What makes a child end when its parent is gone, even by SIGKILL: prctl(2), Linux only."""
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGTERM)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
