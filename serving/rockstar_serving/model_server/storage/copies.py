"""The copies of one model's versions on disk, and the links by which they are served.

<cache>/s3-bucket-models-cnn-1f3a9c20/      one for each server that runs, locked by it
versions/3 -> ../copies/3-5d41402a      a base path as the model server knows it
copies/3-5d41402a/                      named by what the listing of its objects said
copies/4-7d793037.part/                 being copied, or interrupted: it is taken up again
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from rockstar_contract.manifest import ManifestError, MissingManifestError, check_manifest
from rockstar_serving.model_server.storage.object_store import (
    ObjectStore,
    StorageError,
    StoredObject,
)

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 10.0
_PARALLEL = 4
_PART = ".part"


class StoppedError(Exception):
    """The server stops."""


class Copies:
    """The copies of what one URL holds; one thread uses them.

    Attributes:
        place: where they are; no other process uses it.
        versions: folder of the links.
    """

    def __init__(self, cache: Path, url: str, stopping: threading.Event) -> None:
        """Find those of an earlier process; none of them is linked.

        Args:
            cache: folder of the copies of all models.
            url: of the base path that is copied.
            stopping: set when no more is to be copied.

        Raises:
            OSError: the cache cannot be written.
        """
        self._url = url
        self._stopping = stopping
        self.place, self._lock = _own_place(cache, url)
        self.versions = self.place / "versions"
        self._copies = self.place / "copies"
        # Nothing is served that was not seen in the store.
        shutil.rmtree(self.versions, ignore_errors=True)
        self._copies.mkdir(exist_ok=True)

    def fetch(
        self, copy: str, objects: Collection[StoredObject], store: ObjectStore, what: str
    ) -> None:
        """Copy all objects of a version; what an earlier attempt has copied counts.

        Args:
            copy: its name.
            objects: of the version.
            store: that they are in.
            what: it is, for the log.

        Raises:
            StorageError, OSError: not all of them; what was copied stays.
            StoppedError: the server stops.
        """
        target = self._copies / copy
        if target.exists():
            if _intact(target, objects):
                return
            shutil.rmtree(target)
        part = self._copies / f"{copy}{_PART}"
        part.mkdir(exist_ok=True)
        missing = [stored for stored in objects if not _has(part, stored)]
        size = sum(stored.size for stored in missing)
        free = shutil.disk_usage(part).free
        if size >= free:
            raise StorageError(
                f"its {_in_words(size)} do not fit into the cache {self.place}, where "
                f"{_in_words(free)} are free: free some, or choose another --model_cache_path"
            )
        log.info(
            "%s: copying %s in %d files from %s", what, _in_words(size), len(missing), self._url
        )
        progress = _Progress(what, size)
        with ThreadPoolExecutor(_PARALLEL, "copy") as pool:
            files = [pool.submit(self._write, stored, store, part, progress) for stored in missing]
            try:
                for file in files:
                    file.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        part.rename(target)
        progress.report(done=True)

    def _write(
        self, stored: StoredObject, store: ObjectStore, folder: Path, progress: "_Progress"
    ) -> None:
        path = folder / stored.name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name[:200]}{_PART}")
        with unfinished.open("wb") as file:
            for chunk in store.chunks(stored):
                if self._stopping.is_set():
                    raise StoppedError
                file.write(chunk)
                progress.add(len(chunk))
        if unfinished.stat().st_size != stored.size:
            raise StorageError(
                f"{stored.name} has another size than the {stored.size} bytes listed"
            )
        unfinished.replace(path)

    def link(self, version: int, copy: str) -> None:
        """Point the version's link to a copy, in one step."""
        link = self.place / f"link-{version}"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..", self._copies.name, copy), target_is_directory=True)
        link.replace(self.versions / str(version))

    def unlink(self, version: int) -> None:
        """Remove a version's link."""
        (self.versions / str(version)).unlink(missing_ok=True)

    def clean(self, kept: Collection[str], undone: Collection[int]) -> None:
        """Remove all copies but those to keep, and what there is of versions that are not done."""
        for copy in os.listdir(self._copies):
            if copy not in kept and copy.partition("-")[0] not in map(str, undone):
                shutil.rmtree(self._copies / copy, ignore_errors=True)

    def close(self) -> None:
        """Leave the place to other processes; the copies stay."""
        self._lock.close()


class _Progress:
    """Logs how much of a version is copied, now and then."""

    def __init__(self, what: str, size: int) -> None:
        self._what = what
        self._size = size
        self._copied = 0
        self._started = self._last = time.monotonic()
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._copied += size
            now = time.monotonic()
            due = now - self._last >= _PROGRESS_SECONDS
            if due:
                self._last = now
        if due:
            self.report()

    def report(self, *, done: bool = False) -> None:
        if done:
            seconds = time.monotonic() - self._started
            log.info("%s: copied %s in %.1f s", self._what, _in_words(self._copied), seconds)
        else:
            percent = 100 * self._copied // max(self._size, 1)
            log.info("%s: %d %% of %s copied", self._what, percent, _in_words(self._size))


def _own_place(cache: Path, url: str) -> tuple[Path, IO[bytes]]:
    """A folder for the copies of one URL that no other process uses, and the lock that says so."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", url)[-60:].strip("-.")
    number = 1
    while True:
        place = cache / f"{readable}-{digest}{f'.{number}' if number > 1 else ''}"
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (place / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            number += 1
            continue
        except BaseException:
            lock.close()
            raise
        return place, lock


def _intact(copy: Path, objects: Collection[StoredObject]) -> bool:
    """Whether a copy that an earlier process made is still what it was."""
    if not all(_has(copy, stored) for stored in objects):
        return False
    with contextlib.suppress(MissingManifestError):
        try:
            check_manifest(copy)
        except ManifestError:
            return False
    return True


def _has(folder: Path, stored: StoredObject) -> bool:
    path = folder / stored.name
    return path.is_file() and path.stat().st_size == stored.size


def _in_words(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
