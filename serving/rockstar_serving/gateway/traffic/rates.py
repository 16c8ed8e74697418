"""So many requests in so much time: token buckets that all workers of a gateway share."""

import fcntl
import mmap
import os
import re
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FORM = re.compile(r"(\d+)/(second|minute|hour|day)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# Of a bucket: tokens in it, and when they were counted (monotonic seconds: a clock that all share).
_STATE = struct.Struct("dd")


@dataclass(frozen=True)
class Rate:
    """So many requests, all at once or one by one, in a period of so many seconds."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read "100/minute".

        Raises:
            ValueError: it has another form.
        """
        match = _FORM.fullmatch(text)
        if match is None or int(match[1]) < 1:
            raise ValueError(f"expected a rate such as 100/minute, got {text!r}")
        return cls(int(match[1]), _SECONDS[match[2]])


class Buckets:
    """One bucket for each name; make it before the workers are forked."""

    def __init__(self, rates: Mapping[str, Rate]) -> None:
        self._rates = {name: (index, rate) for index, (name, rate) in enumerate(rates.items())}
        self._memory = mmap.mmap(-1, max(1, len(self._rates) * _STATE.size))
        self._lock = threading.Lock()
        if rates:
            # A lock of the kernel's ends with the process that holds it, however that ends.
            self._file, path = tempfile.mkstemp()
            Path(path).unlink()
            weakref.finalize(self, os.close, self._file)
        now = time.monotonic()
        for index, rate in self._rates.values():
            _STATE.pack_into(self._memory, index * _STATE.size, rate.requests, now)

    def take(self, name: str) -> float:
        """Take a token.

        Returns:
            0, or the seconds until there is one, where there is none now. A name without a rate has
            always one.
        """
        if name not in self._rates:
            return 0.0
        index, rate = self._rates[name]
        place, by_second = index * _STATE.size, rate.requests / rate.seconds
        with self._locked(index):
            tokens, counted = _STATE.unpack_from(self._memory, place)
            now = time.monotonic()
            tokens = min(rate.requests, tokens + (now - counted) * by_second)
            taken = tokens >= 1
            _STATE.pack_into(self._memory, place, tokens - taken, now)
        return 0.0 if taken else (1 - tokens) / by_second

    @contextmanager
    def _locked(self, index: int) -> Iterator[None]:
        # The kernel's lock is between processes, the other one between the threads of this one.
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, index)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, index)
