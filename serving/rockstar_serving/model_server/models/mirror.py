"""Local copies of the versions that a model needs of those in an object store.

A mirror's folder looks like a local base path, so versions are loaded and unloaded as usual:

<cache>/s3-bucket-models-cnn-1f3a9c20/      one for each running server, locked by it
versions/3 -> ../copies/3-5d41402a      the base path for the model server
copies/3-5d41402a/                      named by a hash of the listing of its objects
copies/4-7d793037.part/                 in progress, or interrupted: it is resumed

- A version with a manifest is copied when all files of the manifest are there. Any other must have
  stayed unchanged for a while, because its objects appear one after another.
- Of the versions that the policy chooses, one that is still being uploaded is replaced by the next
  lower one, as is a version that does not load.
- A version that is gone from the store, or no longer chosen, is removed when the chosen ones are
  served. While the store cannot be reached, or lists no version at all, all copies stay.
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
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from rockstar_contract.manifest import (
    MANIFEST_FILE,
    MAX_BYTES,
    Manifest,
    ManifestError,
    MissingManifestError,
    check_manifest,
)
from rockstar_contract.version_folders import numbered
from rockstar_serving.model_server.models.config import ConfigError, ModelConfig
from rockstar_serving.model_server.models.folder_stability import MODEL_FILES
from rockstar_serving.model_server.models.servables import State, VersionStatus
from rockstar_serving.model_server.object_store import ObjectStore, StorageError, StoredObject
from rockstar_serving.model_server.options import LoadOptions
from tfs_api.status import Code

log = logging.getLogger(__name__)

# How long a version without a manifest must stay unchanged; and how long to wait for one that looks
# incomplete: then it is copied anyway, to report its error.
SETTLE_SECONDS = 5.0
LONGEST_SECONDS = 60.0
# How often the objects of a copied version are listed again.
RECHECK_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 60.0
_CHEAP_SECONDS = 10.0
_REMINDER_SECONDS = 300.0
_PROGRESS_SECONDS = 10.0
_STOP_SECONDS = 2.0
_PARALLEL = 4
_PART = ".part"


class _StoppedError(Exception):
    """The server is stopping."""


class _Copies:
    """The copies of the versions below one URL; for one thread.

    Attributes:
        place: folder of the copies; no other process uses it.
        versions: folder of the links.
    """

    def __init__(self, cache: Path, url: str, stopping: threading.Event) -> None:
        """Find the copies of an earlier process, and remove their links; raises OSError."""
        self._url, self._stopping = url, stopping
        self.place, self._lock = _lock_place(cache, url)
        self.versions = self.place / "versions"
        self._copies = self.place / "copies"
        # A version must not be served before it is found in the store again.
        shutil.rmtree(self.versions, ignore_errors=True)
        self._copies.mkdir(exist_ok=True)

    def fetch(
        self, copy: str, objects: Collection[StoredObject], store: ObjectStore, what: str
    ) -> None:
        """Copy all objects of a version that no earlier attempt has copied.

        Raises StorageError, OSError or _StoppedError; what was copied stays.
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
        words = _in_words(size)
        log.info("%s: copying %s in %d files from %s", what, words, len(missing), self._url)
        started = time.monotonic()
        progress = _Progress(what, size)
        # An error cancels the copies that have not begun.
        with ThreadPoolExecutor(_PARALLEL, "copy") as pool:
            list(pool.map(lambda stored: self._write(stored, store, part, progress), missing))
        part.rename(target)
        log.info("%s: copied %s in %.1f s", what, words, time.monotonic() - started)

    def _write(
        self, stored: StoredObject, store: ObjectStore, folder: Path, progress: "_Progress"
    ) -> None:
        path = folder / stored.name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name[:200]}{_PART}")
        with unfinished.open("wb") as file:
            for chunk in store.stream(stored.key, stored.tag):
                if self._stopping.is_set():
                    raise _StoppedError
                file.write(chunk)
                progress.add(len(chunk))
                if file.tell() > stored.size:
                    break
            if file.tell() != stored.size:
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

    def clean(self, kept: Collection[str], unfinished: Collection[int]) -> None:
        """Remove all copies except those to keep, and those of versions in progress."""
        for copy in os.listdir(self._copies):
            if copy not in kept and copy.partition("-")[0] not in map(str, unfinished):
                shutil.rmtree(self._copies / copy, ignore_errors=True)

    def close(self) -> None:
        """Unlock the place for other processes; the copies stay."""
        self._lock.close()


class _Progress:
    """Logs periodically how much of a version is copied."""

    def __init__(self, what: str, size: int) -> None:
        self._what, self._size = what, size
        self._copied, self._last = 0, time.monotonic()
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._copied += size
            now = time.monotonic()
            if now - self._last < _PROGRESS_SECONDS:
                return
            self._last = now
        percent = 100 * self._copied // max(self._size, 1)
        log.info("%s: %d %% of %s copied", self._what, percent, _in_words(self._size))


def _lock_place(cache: Path, url: str) -> tuple[Path, IO[bytes]]:
    """Choose a folder for the copies of a URL that no other process uses; returns its lock too."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", url)[-60:].strip("-.")
    number = 0
    while True:
        number += 1
        place = cache / f"{readable}-{digest}{f'.{number}' if number > 1 else ''}"
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (place / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return place, lock
        except OSError as error:
            lock.close()
            if not isinstance(error, BlockingIOError):
                raise


def _intact(copy: Path, objects: Collection[StoredObject]) -> bool:
    """Whether the copy of an earlier process is complete and undamaged."""
    if not all(_has(copy, stored) for stored in objects):
        return False
    try:
        check_manifest(copy)
    except ManifestError as error:
        return isinstance(error, MissingManifestError)
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


class Mirror:
    """Copies the versions of one model, in its own thread.

    Attributes:
        url: of the base path in the store.
        folder: a base path with the copies; it appears with the first listing.
        problem: why there are no copies, or no newer ones; "" if all is well.
        looked: whether the store was listed, and copying each chosen version succeeded or failed.
    """

    def __init__(
        self,
        config: ModelConfig,
        cache: Path,
        poll_seconds: float,
        statuses: Callable[[], Iterable[VersionStatus]],
        changed: Callable[[], None],
    ) -> None:
        """Create a mirror of a model's URL in a cache; serve() starts it.

        `poll_seconds` is the time between listings; 0: until one succeeds. `changed` is called when
        the folder or the problem has changed. Raises OSError if the cache cannot be written.
        """
        self.problem, self.looked = "", False
        self._config, self._poll_seconds = config, poll_seconds
        self._model, self.url = config.name, config.url
        self._store = ObjectStore(config.url)
        self._statuses, self._changed = statuses, changed
        self._stopping = threading.Event()
        self._copies = _Copies(cache, config.url, self._stopping)
        self.folder = self._copies.versions
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mirror {config.name}", daemon=True)
        # By version: the copy that its link points to; when its objects were listed; the name of
        # the copy that they would make, and since when.
        self._published: dict[int, str] = {}
        self._listed: dict[int, float] = {}
        self._since: dict[int, tuple[str, float]] = {}
        self._reported = ("", 0.0)
        self._moved = False

    def serve(self, config: ModelConfig) -> None:
        """Copy the versions that the policy of a configuration chooses from now on."""
        if config.policy != self._config.policy:
            self._config = config
            self.looked = False
        if self._thread.ident is None:
            self._thread.start()
        self._woken.set()

    def stop(self) -> None:
        """End soon; the copies stay."""
        self._stopping.set()
        self._woken.set()

    def join(self, seconds: float) -> bool:
        """Wait for its end; returns whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        log.info("model %s: copies of %s are kept in %s", self._model, self.url, self._copies.place)
        if 0 < self._poll_seconds < _CHEAP_SECONDS:
            log.info(
                "model %s: %s is listed every %g s, which stores bill: "
                "--file_system_poll_wait_seconds=60 costs less",
                self._model,
                self.url,
                self._poll_seconds,
            )
        failures = 0
        while not self._stopping.is_set():
            self._woken.clear()
            waits = False
            try:
                problem, waits = self._look()
            except _StoppedError:
                break
            except (StorageError, OSError) as error:
                problem = _reason(error)
            except Exception:  # an unexpected error must not end the thread
                log.exception("model %s: looking for versions in %s failed", self._model, self.url)
                problem = "internal error"
            failures = failures + 1 if problem and not waits else 0
            if problem != self.problem or not self.looked:
                self._moved = True
            self._report(problem, waits=waits)
            self.looked = True
            if self._moved:
                self._moved = False
                self._changed()
            pause: float | None = None  # until another policy is set
            if self._poll_seconds or problem:
                pause = min(2.0**failures, _LONGEST_PAUSE_SECONDS) if failures else 0.0
                pause = max(pause, self._poll_seconds or 1.0)
            self._woken.wait(pause)
        self._copies.close()

    def _report(self, problem: str, *, waits: bool) -> None:
        """Log a problem when it is new, and periodically."""
        self.problem = problem
        before, when = self._reported
        now = time.monotonic()
        if problem and (problem != before or now - when > _REMINDER_SECONDS):
            level, what = (logging.INFO, "waiting") if waits else (logging.WARNING, "tried again")
            log.log(level, "model %s: %s: %s (%s)", self._model, self.url, problem, what)
            self._reported = problem, now
        elif not problem:
            self._reported = "", 0.0

    def _look(self) -> tuple[str, bool]:
        """List the versions once, and copy the chosen ones; raises StorageError or OSError.

        Returns:
            Why a chosen version is not copied, and whether waiting is enough to resolve that.
        """
        config, statuses = self._config, list(self._statuses())
        found = numbered(self._store.folders())
        absent = config.explain_missing(found)
        if not config.policy.choose(found):
            return absent, True
        self.folder.mkdir(exist_ok=True)
        failed = {status.version for status in statuses if status.code != Code.OK}
        errors: dict[int, str] = {}
        waiting: dict[int, str] = {}
        wanted: set[int] = set()
        # The next version replaces one that does not load or cannot be copied yet.
        for usable in (set(found), set(found) - failed):
            while True:
                target = config.policy.choose(usable)
                new = target - wanted - errors.keys() - waiting.keys()
                for version in sorted(new, reverse=True):
                    try:
                        if reason := self._copy(version, found[version]):
                            waiting[version] = reason
                    except (StorageError, OSError) as error:
                        errors[version] = _reason(error)
                # An existing copy of a version stays, whatever happens to its successor.
                unfit = target & (errors.keys() | waiting.keys()) - self._published.keys()
                wanted |= target - unfit
                if not unfit:
                    break
                usable -= unfit
        unfinished = {**waiting, **errors}
        self._clean(found, config.policy.choose(found) | wanted, unfinished)
        reasons = [f"version {v}: {why}" for v, why in sorted(unfinished.items())]
        return "; ".join(filter(None, (absent, *reasons))), not errors

    def _copy(self, version: int, name: str) -> str:
        """Copy a version from the folder of this name; raises StorageError or OSError.

        Returns:
            Why it is not copied yet; "" if it is, or if there is a copy of its previous content.
        """
        published = self._published.get(version)
        if published and time.monotonic() - self._listed[version] < RECHECK_SECONDS:
            return ""
        objects = self._store.objects(name)
        listing = repr([(stored.name, stored.size, stored.tag) for stored in objects])
        copy = f"{version}-{hashlib.sha256(listing.encode()).hexdigest()[:16]}"
        if copy != published:
            waiting = self._unsettled(version, copy, objects)
            if not waiting:
                what = f"model {self._model} version {version}"
                self._copies.fetch(copy, objects, self._store, what)
                if self._store.objects(name) != objects:
                    waiting = "its objects changed while they were copied"
            if waiting:
                return "" if published else waiting
            self._copies.link(version, copy)
            self._published[version] = copy
            self._changed()  # at once: others may take long
        self._since.pop(version, None)
        self._listed[version] = time.monotonic()
        return ""

    def _unsettled(self, version: int, copy: str, objects: Collection[StoredObject]) -> str:
        """Why a version looks as if it were still being uploaded; "" if it does not."""
        now = time.monotonic()
        seen, since = self._since.get(version, ("", now))
        if seen != copy:
            since = now
        self._since[version] = copy, since
        newest = max((stored.modified for stored in objects), default=datetime.now(UTC))
        quiet = max(now - since, (datetime.now(UTC) - newest).total_seconds())
        if quiet >= LONGEST_SECONDS:
            return ""
        manifest = next((stored for stored in objects if stored.name == MANIFEST_FILE), None)
        if manifest is not None and manifest.size <= MAX_BYTES:  # else loading reports it
            content = b"".join(self._store.stream(manifest.key, manifest.tag))
            missing = _missing(content, objects)
            return f"it is being uploaded: {missing} is missing" if missing else ""
        if not any(MODEL_FILES.fullmatch(stored.name) for stored in objects):
            return "it is being uploaded: there is neither model.tflite nor saved_model.pb"
        return "" if quiet >= SETTLE_SECONDS else "it may still be being uploaded"

    def _clean(self, found: Collection[int], wanted: set[int], unfinished: Collection[int]) -> None:
        """Remove unneeded links, and copies without a link except partial ones of `unfinished`.

        `wanted` are the versions to serve, and those served in their place.
        """
        gone = self._published.keys() - set(found)
        statuses = list(self._statuses())
        used = {status.version for status in statuses if status.state != State.END}
        failed = {status.version for status in statuses if status.code != Code.OK}
        if wanted - failed <= used:
            gone |= self._published.keys() - wanted - used
        for version in gone:
            self._copies.unlink(version)
            del self._published[version]
            self._moved = True
        for version in self._since.keys() - set(found):
            del self._since[version]
        self._copies.clean(self._published.values(), unfinished)


class Mirrors:
    """The mirrors of all models whose base paths are in object stores."""

    def __init__(self, options: LoadOptions) -> None:
        self._cache = options.cache_path.expanduser().absolute()
        self._poll_seconds = max(0.0, options.poll_seconds)
        self._mirrors: dict[str, Mirror] = {}

    def local(
        self,
        config: ModelConfig,
        statuses: Callable[[], Iterable[VersionStatus]],
        changed: Callable[[], None],
    ) -> ModelConfig:
        """The configuration with a local base path, into which a mirror copies versions from a URL.

        Raises ConfigError if the cache cannot be written.
        """
        mirror = self._mirrors.get(config.name)
        if mirror is not None and mirror.url != config.url:
            self._mirrors.pop(config.name).stop()
            mirror = None
        if not config.url:
            return config
        if mirror is None:
            try:
                mirror = Mirror(config, self._cache, self._poll_seconds, statuses, changed)
            except OSError as error:
                raise ConfigError(
                    f"the cache for copies of {config.url}: {_reason(error)}: name another folder "
                    "with --model_cache_path"
                ) from error
            self._mirrors[config.name] = mirror
        mirror.serve(config)
        return replace(config, base_path=mirror.folder, mirror=mirror)

    def keep(self, names: Collection[str]) -> None:
        """Stop the mirrors of all other models."""
        for name in self._mirrors.keys() - set(names):
            self._mirrors.pop(name).stop()

    def stop(self) -> bool:
        """Stop all of them; returns whether they have ended."""
        mirrors = list(self._mirrors.values())
        self.keep(())
        until = time.monotonic() + _STOP_SECONDS
        return all(mirror.join(max(0.0, until - time.monotonic())) for mirror in mirrors)


def _missing(manifest: bytes, objects: Collection[StoredObject]) -> str:
    """A file of a manifest that is absent or has another size; "" if all are there."""
    sizes = {stored.name: stored.size for stored in objects}
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        files = msgspec.json.decode(manifest, type=Manifest).files
        return next((f for f, entry in files.items() if sizes.get(f) != entry.bytes), "")
    return ""  # loading reports the invalid manifest


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the cache'}: {error.strerror or error}"
    return str(error)
