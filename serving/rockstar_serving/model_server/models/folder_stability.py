"""Whether the version folders of a model are completely written.

A folder must not be loaded while it is being written, whether by `cp -r`, by rsync (which writes
each file under a name such as `.model.tflite.Xy12Ab` until it is complete) or over a network:

- A folder with a manifest whose files are all there with their sizes is complete.
- Any other folder must not have changed for a quiet period. At start-up nearly every folder's last
  change is older than that, so the first check is enough.
- A folder known to be incomplete (files of its manifest are missing or short, rsync is writing, or
  there is no model yet) has a longer quiet period. Then it is loaded anyway, to report its error.

If a folder is loaded too early, for example because its copy stalled, the load fails and is retried
when the folder changes, after a quiet period that doubles each time.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from rockstar_contract.manifest import ManifestError, MissingManifestError, check_manifest

# (path, size, time of the last change of content, same of metadata) of each file and folder; times
# in nanoseconds.
Fingerprint = frozenset[tuple[str, int, int, int]]

NEVER = float("inf")

# Limits, in quiet periods: for a folder known to be incomplete; for one that failed repeatedly; how
# long an unsettled version keeps its place; and how long the start waits for one if there is
# nothing else to serve.
_INCOMPLETE, _LONGEST = 8, 40
_SOON, _HOPELESS = 4, 40
_RSYNC = re.compile(r"\..+\.[A-Za-z0-9]{6}")
# Every complete version has at least one of these.
MODEL_FILES = re.compile(r"model\.tflite|saved_model\..+")


def fingerprint(folder: Path) -> Fingerprint:
    """Return a value that changes when anything in the folder changes."""
    entries = set()
    for root, _, names in os.walk(folder):
        # The metadata time of the folder itself does not count: it changes when the folder is
        # renamed, which publishes a version in one step.
        for path in (root, *(os.path.join(root, name) for name in names)):
            with contextlib.suppress(OSError):  # removed since the listing
                stat = os.stat(path)
                changed = 0 if path == root else stat.st_ctime_ns
                entries.add((path, stat.st_size, stat.st_mtime_ns, changed))
    return frozenset(entries)


def changed_at(seen: Fingerprint) -> float:
    """The time of the last change, in seconds since the epoch; 0.0 if there are no files."""
    return max((max(entry[2], entry[3]) for entry in seen), default=0) / 1e9


@dataclass
class _Observation:
    """The content of a folder, when the folder was first seen, and since when it is unchanged."""

    fingerprint: Fingerprint
    first: float
    since: float


@dataclass(frozen=True)
class Unsettled:
    """A folder that is probably still being written.

    Attributes:
        wait: seconds until the next check.
        soon: whether it has been changing only for a short time and is likely to settle soon.
        hopeless: whether it has been changing for too long to wait for it.
    """

    wait: float
    soon: bool
    hopeless: bool


@dataclass
class FolderStability:
    """Decides whether version folders are completely written.

    Attributes:
        quiet: seconds without changes after which a folder is settled; 0: always.
        clock: in seconds.
        wall_clock: the clock of file times, in seconds.
    """

    quiet: float
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    _observations: dict[Path, _Observation] = field(default_factory=dict)

    def check(self, folder: Path, seen: Fingerprint, failures: int = 0) -> Unsettled | None:
        """Check a version folder with its current fingerprint; None if it is settled.

        Each of its failures to load after a change doubles the quiet period.
        """
        age = self.wall_clock() - changed_at(seen)
        # A change in the future means that the clocks differ: then only our observations count.
        if age >= self.quiet * _LONGEST:
            complete, quiet = None, 0.0
        else:
            complete = _is_complete(folder, seen)
            times = max(_INCOMPLETE if complete is False else 1, 2**failures)
            quiet = self.quiet * min(times, _LONGEST)
        if (complete and not failures) or not quiet or age >= quiet:
            self._observations.pop(folder, None)
            return None
        now = self.clock()
        observation = self._observations.setdefault(folder, _Observation(seen, now, now))
        if observation.fingerprint != seen:
            observation.fingerprint, observation.since = seen, now
        left = quiet - max(now - observation.since, age)
        if left <= 0:
            del self._observations[folder]
            return None
        watched = now - observation.first
        return Unsettled(left, watched < _SOON * self.quiet, watched >= _HOPELESS * self.quiet)

    def forget_all_but(self, folders: Collection[Path]) -> None:
        """Forget folders that no longer exist."""
        for folder in self._observations.keys() - set(folders):
            del self._observations[folder]


def _is_complete(folder: Path, seen: Fingerprint) -> bool | None:
    """Whether a folder is complete; None if that cannot be determined."""
    names = [os.path.basename(entry[0]) for entry in seen]
    if any(map(_RSYNC.fullmatch, names)) or not any(map(MODEL_FILES.fullmatch, names)):
        return False
    try:
        check_manifest(folder, lambda _: False)
    except MissingManifestError:
        return None
    except ManifestError:
        return False
    return True
