"""The folder in which the workers of a gateway keep their metrics, so that any can add them up.

prometheus_client reads the variable PROMETHEUS_MULTIPROC_DIR when it is imported: the parent of the
workers sets it first, and must not import prometheus_client before.
"""

import fcntl
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rockstar_serving.gateway.settings import FilesError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LOCK = "lock"
# Files of these kinds outlive their worker: counters must not decrease.
_LASTING = ("counter", "histogram")
# The beginnings of the names of a worker's files: all kinds of its metrics.
KINDS = (*_LASTING, "gauge_livesum", "gauge_livemax")
# The size of a new file, as of prometheus_client, and more than a new time series needs.
_FIRST_BYTES = 64 * 1024
_SERIES_BYTES = 16 * 1024
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
            FilesError: it cannot be created.
        """
        try:
            self.path = Path(tempfile.mkdtemp(prefix="rockstar-metrics-", dir=parent or None))
            (self.path / _LOCK).touch()
        except OSError as error:
            raise FilesError(
                f"ROCKSTAR_METRICS_DIR: expected a folder to write to, got {error.filename or ''}: "
                f"{error.strerror}"
            ) from error
        os.environ[VARIABLE] = str(self.path)
        self._owner = os.getpid()

    def start_worker(self) -> None:
        """Prepare the files of this worker; if the disk is full, the worker does not count."""
        try:
            make_room()
        except OSError as error:
            log.warning("worker %d is missing from /metrics: %s", os.getpid(), error)
            from prometheus_client import values

            values.ValueClass = values.MutexValue

    def remove(self) -> None:
        """Remove it and its contents; does nothing in a worker."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)


def make_room() -> None:
    """Make room for new time series in the files of this worker.

    Writing to memory that maps a file ends the process by SIGBUS if the disk has no room for the
    page. So the pages are written to the file first.

    Raises:
        OSError: the disk is full.
    """
    if folder := os.environ.get(VARIABLE):
        for kind in KINDS:
            _extend(Path(folder, f"{kind}_{os.getpid()}.db"), _SERIES_BYTES)


def _extend(path: Path, more: int) -> None:
    """Make room for more bytes in a file.

    A file that is too small is doubled, as prometheus_client does when it is full.
    """
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        # The first number in the file.
        used = int.from_bytes(file.read(4), sys.byteorder)
        if size < used + more:
            try:
                left = max(size, more, _FIRST_BYTES)
                while left > 0:
                    left -= file.write(bytes(left))
            except OSError:
                file.truncate(size)
                if not size:  # readers expect no empty files
                    path.unlink()
                raise


@contextmanager
def reading(folder: str) -> Iterator[None]:
    """In this context counts do not move from one file to another."""
    with Path(folder, _LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another worker is reading: it has done this just now
            pass
        else:
            _add_up_ended_workers(Path(folder))
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _add_up_ended_workers(folder: Path) -> None:
    """Drop the gauges of workers that have ended, and add their counts to one file for all.

    Otherwise each restart would leave files that every scrape reads.
    """
    from prometheus_client.mmap_dict import MmapedDict
    from prometheus_client.multiprocess import mark_process_dead

    pids = {int(file.stem.rpartition("_")[2]) for file in folder.glob("*_*.db")}
    for pid in pids - {_ENDED}:
        if _is_alive(pid):
            continue
        try:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
            for kind in _LASTING:
                file = folder / f"{kind}_{pid}.db"
                if not file.exists():
                    continue
                ended = folder / f"{kind}_{_ENDED}.db"
                _extend(ended, file.stat().st_size)
                total: Any = MmapedDict(str(ended))  # type: ignore[no-untyped-call]
                values = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
                for key, value, _timestamp, _position in values:
                    total.write_value(key, total.read_value(key)[0] + value, 0.0)
                total.close()
                file.unlink()
        except Exception:  # a damaged file must not stop the scrape
            log.exception("kept the counts of worker %d in files of its own in %s", pid, folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to another user
        pass
    return True
