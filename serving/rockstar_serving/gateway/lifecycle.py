"""What the processes of a gateway share on either server: start, drain, reload, and metrics.

The parent of the workers keeps this state; workers that it forks share it. Their metrics are in a
folder, so that any of them can add them up. prometheus_client reads its name from the variable
PROMETHEUS_MULTIPROC_DIR when it is imported: the parent sets it first, and must not import
prometheus_client before.
"""

import fcntl
import logging
import mmap
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rockstar_serving.gateway.settings import GatewayConfig, read_files
from rockstar_serving.options import SettingError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LOCK = "lock"
# Files of these kinds outlive their worker: counters must not decrease.
_LASTING = ("counter", "histogram")
# The beginnings of the names of a worker's files: all kinds of its metrics.
_KINDS = (*_LASTING, "gauge_livesum", "gauge_livemax")
# The size of a new file, as of prometheus_client, and more than a new time series needs.
_FIRST_BYTES = 64 * 1024
_SERIES_BYTES = 16 * 1024
# Stands for all workers that have ended; no process id is 0.
_ENDED = 0

log = logging.getLogger(__name__)


class Lifecycle:
    """The state of a gateway that its processes share.

    Attributes:
        files: contents of the files that the settings name; a worker keeps those of its start.
        metrics_folder: for the metrics of the workers.
    """

    def __init__(self, config: GatewayConfig, on_ready: Callable[[str], None] | None) -> None:
        """Read the files that the settings name, and create the folder for metrics.

        `on_ready` is called with the address when the server listens; by default it is logged.
        Raises SettingError.
        """
        self._config = config
        self._on_ready = on_ready
        self.files = read_files(config)
        parent = config.metrics_dir or None
        try:
            self.metrics_folder = Path(tempfile.mkdtemp(prefix="rockstar-metrics-", dir=parent))
            (self.metrics_folder / _LOCK).touch()
        except OSError as error:
            raise SettingError(
                f"ROCKSTAR_METRICS_DIR: expected a folder to write to, got {error.filename or ''}: "
                f"{error.strerror}"
            ) from error
        os.environ[VARIABLE] = str(self.metrics_folder)
        self._owner = os.getpid()
        # Memory shared with the workers: 1 once the server is about to stop; number of reloads.
        self._shared = mmap.mmap(-1, 2)

    def stopping(self) -> bool:
        """Whether the server is about to stop: load balancers should send nothing new."""
        return self._shared[0] == 1

    def start_worker(self) -> Callable[[], bool]:
        """Prepare a worker process; returns a function whether it is about to be replaced.

        If the disk is full, the worker does not count.
        """
        # Not needed by the parent.
        from rockstar_contract.images import ignore_warnings

        ignore_warnings()
        try:
            make_room()
        except OSError as error:
            log.warning("worker %d is missing from /metrics: %s", os.getpid(), error)
            from prometheus_client import values

            values.ValueClass = values.MutexValue
        # The model server logs successful loading once; not again in each worker.
        logging.getLogger("rockstar_serving.model_server").setLevel(logging.WARNING)
        reloads = self._shared[1]
        return lambda: self._shared[0] == 1 or self._shared[1] != reloads

    def announce(self, address: str) -> None:
        """Report the address at which the server listens."""
        if self._on_ready is not None:
            self._on_ready(address)
        elif not self._config.bind.startswith("fd://"):  # `rockstar serve` reports its own socket
            log.info("serving on %s (page to try it: /, API: /docs)", address)

    def drain_on_sigterm(self) -> None:
        """On SIGTERM make `/readyz` fail, and stop `drain` seconds later or at the next SIGTERM.

        Call it when the server has set its own signal handlers.
        """
        stop: Any = signal.getsignal(signal.SIGTERM)

        def drain(number: int, frame: Any) -> None:
            again, self._shared[0] = self.stopping(), 1
            if again or not self._config.drain:
                stop(number, frame)
                return
            signal.signal(signal.SIGALRM, lambda _, frame: stop(signal.SIGTERM, frame))
            signal.setitimer(signal.ITIMER_REAL, self._config.drain)

        signal.signal(signal.SIGTERM, drain)

    def retire_workers(self) -> None:
        """Make the clients of the present workers connect again, before these end."""
        self._shared[1] = (self._shared[1] + 1) % 256

    def reload(self) -> None:
        """Read the files again on SIGHUP, before new workers replace the old ones."""
        self.retire_workers()
        try:
            self.files = read_files(self._config)
            log.info("read the routes file and the API keys again")
        except SettingError as error:
            log.error("kept the earlier routes and API keys: %s", error)

    def remove_metrics(self) -> None:
        """Remove the folder for metrics and its contents; does nothing in a worker."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.metrics_folder, ignore_errors=True)


def make_room() -> None:
    """Make room for new time series in the files of metrics of this worker.

    Writing to memory that maps a file ends the process by SIGBUS if the disk has no room for the
    page. So the pages are written to the file first.

    Raises:
        OSError: the disk is full.
    """
    if folder := os.environ.get(VARIABLE):
        for kind in _KINDS:
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
    """In this context counts do not move from one file of metrics to another."""
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
