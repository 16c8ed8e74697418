"""The folder in which the workers of a gateway keep their metrics, so that any can tell the sum.

prometheus_client reads the variable PROMETHEUS_MULTIPROC_DIR when it is imported: the parent of the
workers sets it first, and nothing that the parent imports before may import prometheus_client.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LOCK = "lock"
# Files of these kinds outlive their worker: counters must not go back.
_LASTING = ("counter", "histogram")
# In the place of a process id, which is never 0: of all workers that have ended.
_ENDED = 0

log = logging.getLogger(__name__)


class SharedCounts:
    """The folder, for the parent of the workers."""

    def __init__(self, parent: str) -> None:
        """Make it, and let prometheus_client know.

        Args:
            parent: folder to make it in; empty is the system's for temporary files.

        Raises:
            OSError: it cannot be made.
        """
        self.path = Path(tempfile.mkdtemp(prefix="rockstar-metrics-", dir=parent or None))
        (self.path / _LOCK).touch()
        os.environ[VARIABLE] = str(self.path)
        self._owner = os.getpid()
        self._ended: set[int] = set()

    def worker_ended(self, pid: int) -> None:
        """Forget what a worker was doing, and add its counts to those of the others that ended.

        Without that, each restart would leave files that every scrape reads.
        """
        from prometheus_client.multiprocess import mark_process_dead

        self._ended.add(pid)
        try:
            mark_process_dead(pid, str(self.path))  # type: ignore[no-untyped-call]
            self._add_up()
        except Exception:  # the parent must live
            log.exception("the counts of worker %d stay in %s", pid, self.path)

    def _add_up(self) -> None:
        with (self.path / _LOCK).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a scrape reads: with the next worker that ends
                return
            while self._ended:
                pid = self._ended.pop()
                for kind in _LASTING:
                    self._add(self.path / f"{kind}_{pid}.db", self.path / f"{kind}_{_ENDED}.db")

    def _add(self, file: Path, to: Path) -> None:
        from prometheus_client.mmap_dict import MmapedDict

        if not file.exists():
            return
        total = MmapedDict(str(to))  # type: ignore[no-untyped-call]
        values = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
        for key, value, _timestamp, _position in values:
            before, _ = total.read_value(key)  # type: ignore[no-untyped-call]
            total.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
        total.close()  # type: ignore[no-untyped-call]
        file.unlink()

    def remove(self) -> None:
        """Remove it with all that is in it; a worker that calls this does nothing."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def reading(folder: str) -> Iterator[None]:
    """While this context lasts, counts do not move from one file to another."""
    with Path(folder, _LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
