"""Interpreters of one model, each used by one request at a time."""

import threading
from collections.abc import Callable

from rockstar_serving.model_server.deadline import Deadline, DeadlineExceededError
from rockstar_serving.model_server.engines.litert_interpreter import LiteRTInterpreter, Shapes


class Pool:
    """Lends interpreters, and makes them when needed.

    Resizing the inputs of an interpreter costs up to as much as running it on one example, so
    whoever comes gets one that ran on such shapes last, if one is idle; else a new one, as long as
    there are few; else the one that has been idle for longest.
    """

    def __init__(
        self,
        make: Callable[[], LiteRTInterpreter],
        first: LiteRTInterpreter,
        *,
        at_once: int,
        for_shapes: int,
    ) -> None:
        """Make a pool.

        Args:
            make: makes an interpreter.
            first: one that is there already.
            at_once: how many are lent at a time; who comes then has to wait.
            for_shapes: how many there may be, only so that each has shapes of its own.
        """
        self._make = make
        self._at_once = at_once
        self._for_shapes = for_shapes
        self._idle = [first]  # what was used last comes last
        self._lent = 0
        self._waiting = 0
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)

    def take(self, signature: str, shapes: Shapes, deadline: Deadline) -> LiteRTInterpreter:
        """Borrow an interpreter to run a signature on inputs of these shapes.

        Raises:
            StatusError: nobody waits for the answer any more.
        """
        with self._lock:
            while self._lent >= self._at_once:
                self._wait(deadline)
            self._lent += 1
            found = self._find(signature, shapes)
        try:
            deadline.check()
            return found or self._make()
        except BaseException:
            self.give_back(found)
            raise

    def give_back(self, interpreter: LiteRTInterpreter | None) -> None:
        """Return what was taken; None where it can be used no more."""
        with self._lock:
            self._lent -= 1
            if interpreter is not None:
                self._idle.append(interpreter)
            if self._waiting:
                self._returned.notify()

    def clear(self) -> None:
        """Free the interpreters that are idle; who comes next has to wait for a new one."""
        with self._lock:
            self._idle.clear()

    def _wait(self, deadline: Deadline) -> None:
        self._waiting += 1
        try:
            if not self._returned.wait(deadline.remaining()):
                raise DeadlineExceededError
        finally:
            self._waiting -= 1

    def _find(self, signature: str, shapes: Shapes) -> LiteRTInterpreter | None:
        """An idle interpreter; None where one is to be made."""
        for number in range(len(self._idle) - 1, -1, -1):
            if self._idle[number].shapes.get(signature) == shapes:
                return self._idle.pop(number)
        # Those that are lent include the one that is about to be.
        if not self._idle or len(self._idle) + self._lent <= self._for_shapes:
            return None
        return self._idle.pop(0)
