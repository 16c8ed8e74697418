"""CPU time by stage of a program, measured by wrapping functions."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any


class Stages:
    """Seconds by stage. Time in a nested stage counts only for the nested one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = threading.local()

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Add the time of a module's function or a class's method to a stage."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            return self.call(stage, lambda: function(*args, **kwargs))

        setattr(owner, name, timed)

    def call(self, stage: str, function: Callable[[], Any]) -> Any:
        """Call a function and add its time to a stage."""
        inner: list[float] = self._open.__dict__.setdefault("inner", [0.0])
        inner.append(0.0)
        started = time.thread_time()
        try:
            return function()
        finally:
            spent = time.thread_time() - started
            self.seconds[stage] += spent - inner.pop()
            inner[-1] += spent
