"""The folder in which the workers of a gateway keep their metrics, so that any can add them up.

prometheus_client reads the variable PROMETHEUS_MULTIPROC_DIR when it is imported: the parent of the
workers sets it first, and must not import prometheus_client before.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LOCK = "lock"
# Files of these kinds outlive their worker: counters must not decrease.
_LASTING = ("counter", "histogram")
# Stands for all workers that have ended; no process id is 0.
_ENDED = 0

log = logging.getLogger(__name__)


class SharedCounts:
    """The folder, for the parent of the workers."""

    def __init__(self, parent: str) -> None:
        """Create it, and set the variable.

        Args:
            parent: folder to create it in; empty: the system's for temporary files.

        Raises:
            OSError: it cannot be created.
        """
        self.path = Path(tempfile.mkdtemp(prefix="rockstar-metrics-", dir=parent or None))
        (self.path / _LOCK).touch()
        os.environ[VARIABLE] = str(self.path)
        self._owner = os.getpid()
        self._ended: set[int] = set()

    def worker_ended(self, pid: int) -> None:
        """Drop a worker's gauges, and add its counts to those of the others that ended.

        Otherwise each restart would leave files that every scrape reads.
        """
        from prometheus_client.multiprocess import mark_process_dead

        self._ended.add(pid)
        try:
            mark_process_dead(pid, str(self.path))  # type: ignore[no-untyped-call]
            self._add_up()
        except Exception:  # the parent must continue
            log.exception("kept the counts of worker %d in files of its own in %s", pid, self.path)

    def _add_up(self) -> None:
        from prometheus_client.mmap_dict import MmapedDict

        with (self.path / _LOCK).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a scrape is reading: add them when the next worker ends
                return
            while self._ended:
                pid = self._ended.pop()
                for kind in _LASTING:
                    file = self.path / f"{kind}_{pid}.db"
                    if not file.exists():
                        continue
                    total: Any = MmapedDict(str(self.path / f"{kind}_{_ENDED}.db"))  # type: ignore[no-untyped-call]
                    values = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
                    for key, value, _timestamp, _position in values:
                        total.write_value(key, total.read_value(key)[0] + value, 0.0)
                    total.close()
                    file.unlink()

    def remove(self) -> None:
        """Remove it and its contents; does nothing in a worker."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def reading(folder: str) -> Iterator[None]:
    """In this context counts do not move from one file to another."""
    with Path(folder, _LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
