"""Local copies of the versions that a model needs of those in an object store.

A mirror's folder looks like a local base path, so versions are loaded, settled and unloaded as
everywhere else.

- A version with a manifest is copied when all that the manifest names is there. Any other must
  have stayed as it is for a while, because its objects appear one after another.
- Of the versions that the policy chooses, those that are still being uploaded leave their place to
  the next lower one, as does a version that does not load.
- A version that is gone from the store, or not chosen any more, is removed when those that are
  chosen are served. While the store cannot be reached, or lists no version at all, all stays.
"""

import contextlib
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rockstar_contract.manifest import MANIFEST_FILE, Manifest
from rockstar_contract.version_folders import numbered
from rockstar_serving.model_server.models.config import ConfigError, ModelConfig
from rockstar_serving.model_server.models.servables import State, VersionStatus
from rockstar_serving.model_server.models.version_folders import explain_missing
from rockstar_serving.model_server.options import LoadOptions
from rockstar_serving.model_server.storage.copies import Copies, StoppedError
from rockstar_serving.model_server.storage.object_store import (
    ObjectStore,
    StorageError,
    StoredObject,
)
from tfs_api.status import Code

log = logging.getLogger(__name__)

# How long a version without a manifest must stay as it is; and for how long at most one is waited
# for that looks incomplete: then it is copied all the same, so that its error is told.
SETTLE_SECONDS = 5.0
LONGEST_SECONDS = 60.0
# How often the objects of a version that is copied are listed again.
RECHECK_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 60.0
_CHEAP_SECONDS = 10.0
_REMINDER_SECONDS = 300.0
_STOP_SECONDS = 2.0
_MODEL = re.compile(r"model\.tflite|saved_model\..+")


class Mirror:
    """Copies the versions of one model, in a thread of its own.

    Attributes:
        folder: a base path with the copies; it appears with the first listing.
        problem: why there are no copies, or no newer ones; "" where nothing is wrong.
    """

    def __init__(
        self,
        config: ModelConfig,
        cache: Path,
        poll_seconds: float,
        statuses: Callable[[], Iterable[VersionStatus]],
        changed: Callable[[], None],
    ) -> None:
        """Make one; serve() begins.

        Args:
            config: of the model, with a URL.
            cache: folder of the copies of all models.
            poll_seconds: between listings; 0: until one succeeds.
            statuses: of the model's versions.
            changed: called when the folder, or the problem, has changed.

        Raises:
            OSError: the cache cannot be written.
        """
        self.problem = ""
        self._config = config
        self._model, self._url = config.name, config.url
        self._store = ObjectStore(config.url)
        self._poll_seconds = poll_seconds
        self._statuses = statuses
        self._changed = changed
        self._stopping = threading.Event()
        self._copies = Copies(cache, config.url, self._stopping)
        self.folder = self._copies.versions
        self._woken = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"mirror {config.name}", daemon=True)
        # By version: the copy that its link points to, when its objects were listed, and since when
        # they are as they are.
        self._published: dict[int, str] = {}
        self._listed: dict[int, float] = {}
        self._since: dict[int, tuple[str, float]] = {}
        self._reported = ("", 0.0)
        self._moved = False

    @property
    def looked(self) -> bool:
        """Whether the store was asked, and all that could be copied is, or has failed."""
        return self._looked.is_set()

    def serve(self, config: ModelConfig) -> None:
        """Copy what the policy of a configuration chooses from now on."""
        if config.policy != self._config.policy:
            self._config = config
            self._looked.clear()
        if self._thread.ident is None:
            self._thread.start()
        self._woken.set()

    def stop(self) -> None:
        """End soon; the copies stay."""
        self._stopping.set()
        self._woken.set()

    def join(self, seconds: float) -> bool:
        """Whether it has ended, after at most some seconds."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        log.info(
            "model %s: copies of %s are kept in %s", self._model, self._url, self._copies.place
        )
        if 0 < self._poll_seconds < _CHEAP_SECONDS:
            log.info(
                "model %s: %s is listed every %g s, which stores bill: "
                "--file_system_poll_wait_seconds=60 costs less",
                *(self._model, self._url, self._poll_seconds),
            )
        failures = 0
        while not self._stopping.is_set():
            self._woken.clear()
            waits = False
            try:
                problem, waits = self._look()
            except StoppedError:
                break
            except (StorageError, OSError) as error:
                problem = _reason(error)
            except Exception:
                # Looking must go on, whatever one look ran into.
                log.exception("model %s: looking for versions in %s failed", self._model, self._url)
                problem = "internal error"
            failures = failures + 1 if problem and not waits else 0
            if problem != self.problem or not self.looked:
                self._moved = True
            self._report(problem, waits=waits)
            self._looked.set()
            if self._moved:
                self._moved = False
                self._changed()
            if self._poll_seconds or problem:
                pause = min(2.0**failures, _LONGEST_PAUSE_SECONDS) if failures else 0.0
                self._woken.wait(max(pause, self._poll_seconds or 1.0))
            else:
                self._woken.wait()  # for another policy
        self._copies.close()

    def _report(self, problem: str, *, waits: bool) -> None:
        """Log a problem when it is new, and now and then."""
        self.problem = problem
        before, when = self._reported
        now = time.monotonic()
        if problem and (problem != before or now - when > _REMINDER_SECONDS):
            level, what = (logging.INFO, "waiting") if waits else (logging.WARNING, "tried again")
            log.log(level, "model %s: %s: %s (%s)", self._model, self._url, problem, what)
            self._reported = problem, now
        elif not problem:
            self._reported = "", 0.0

    def _look(self) -> tuple[str, bool]:
        """List the versions once, and copy those that are wanted.

        Returns:
            Why a version that is wanted is not copied, and whether that is only a matter of time.

        Raises:
            StorageError: the versions cannot be listed.
            OSError: the cache cannot be written.
        """
        config, statuses = self._config, list(self._statuses())
        found = numbered(self._store.folders())
        absent = explain_missing(config, found)
        if not config.policy.choose(found):
            return absent, True
        self.folder.mkdir(exist_ok=True)
        failed = {status.version for status in statuses if status.code != Code.OK}
        errors: dict[int, str] = {}
        waiting: dict[int, str] = {}
        wanted: set[int] = set()
        # What does not load leaves its place to the next one, as does what cannot be copied yet.
        for usable in (set(found), set(found) - failed):
            while True:
                target = config.policy.choose(usable)
                for version in sorted(
                    target - wanted - errors.keys() - waiting.keys(), reverse=True
                ):
                    try:
                        if reason := self._copy(version, found[version]):
                            waiting[version] = reason
                    except (StorageError, OSError) as error:
                        errors[version] = _reason(error)
                # A copy of what a version was before stays, whatever happens to its next one.
                unfit = target & (errors.keys() | waiting.keys()) - self._published.keys()
                wanted |= target - unfit
                if not unfit:
                    break
                usable -= unfit
        undone = {**waiting, **errors}
        self._clean(found, config.policy.choose(found) | wanted, undone)
        reasons = [f"version {v}: {why}" for v, why in sorted(undone.items())]
        return "; ".join(filter(None, (absent, *reasons))), not errors

    def _copy(self, version: int, name: str) -> str:
        """Copy a version, unless that is done.

        Args:
            version: its number.
            name: of its folder.

        Returns:
            Why it is not copied yet, if so; a copy of what it was before stays and counts.

        Raises:
            StorageError, OSError: it cannot be copied.
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
        """Why a version looks as if it were still being uploaded; "" where it does not."""
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
        if manifest is not None:
            missing = _missing(self._store.read(manifest), objects)
            return f"it is being uploaded: {missing} is missing" if missing else ""
        if not any(_MODEL.fullmatch(stored.name) for stored in objects):
            return "it is being uploaded: there is neither model.tflite nor saved_model.pb"
        return "" if quiet >= SETTLE_SECONDS else "it may still be being uploaded"

    def _clean(self, found: Collection[int], wanted: set[int], undone: Collection[int]) -> None:
        """Remove what is gone or not needed any more, and the copies that nothing points to.

        Args:
            found: versions in the store.
            wanted: those that are to be served, and those served in their place.
            undone: versions of which what is copied stays.
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
        self._copies.clean(self._published.values(), undone)


class Mirrors:
    """The mirrors of all models whose base paths are in object stores."""

    def __init__(self, options: LoadOptions) -> None:
        """Make none."""
        self._cache = options.cache_path.expanduser().absolute()
        self._poll_seconds = max(0.0, options.poll_seconds)
        self._mirrors: dict[str, tuple[str, Mirror]] = {}

    def local(
        self,
        config: ModelConfig,
        statuses: Callable[[], Iterable[VersionStatus]],
        changed: Callable[[], None],
    ) -> ModelConfig:
        """The configuration with a local base path; a mirror copies there what it chooses.

        Args:
            config: of a model, wherever its versions are.
            statuses: of the model's versions.
            changed: called when there is something to see in the base path.

        Raises:
            ConfigError: the cache cannot be written.
        """
        url, mirror = self._mirrors.get(config.name, ("", None))
        if mirror is not None and url != config.url:
            self._mirrors.pop(config.name)
            mirror.stop()
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
            self._mirrors[config.name] = config.url, mirror
        mirror.serve(config)
        return replace(config, base_path=mirror.folder, mirror=mirror)

    def keep(self, names: Collection[str]) -> None:
        """Stop the mirrors of all other models."""
        for name in self._mirrors.keys() - set(names):
            self._mirrors.pop(name)[1].stop()

    def stop(self) -> bool:
        """Stop all of them; returns whether they have ended."""
        mirrors = [mirror for _, mirror in self._mirrors.values()]
        self.keep(())
        until = time.monotonic() + _STOP_SECONDS
        return all(mirror.join(max(0.0, until - time.monotonic())) for mirror in mirrors)


def _missing(manifest: bytes, objects: Collection[StoredObject]) -> str:
    """A file of a manifest that is not there with its size; "" where all are."""
    sizes = {stored.name: stored.size for stored in objects}
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        files = msgspec.json.decode(manifest, type=Manifest).files
        return next((f for f, entry in files.items() if sizes.get(f) != entry.bytes), "")
    return ""  # loading says what is wrong with it


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the cache'}: {error.strerror or error}"
    return str(error)
