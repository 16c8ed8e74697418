"""Which version folders have settled: nobody writes into them any more.

A folder is not loaded while it is written, whether by `cp -r`, by rsync, which keeps a file under a
name such as `.model.tflite.Xy12Ab` until it is whole, or over a network. How that is told:

- A manifest whose files are all there with their sizes: settled, at once.
- Otherwise nothing in the folder may have changed for a quiet period. Where the last change is that
  long ago, as with nearly every folder at start-up, that is known at the first look.
- A folder that is known to be incomplete (files of its manifest are missing or short, rsync is at
  work, or there is no model yet) must be quiet for longer; then it is loaded all the same, so that
  its error is told.

What is quiet too early, such as a copy that stalls, fails to load and is tried again as it changes,
after a quiet period that doubles each time.
"""

import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from rockstar_contract.manifest import ManifestError, MissingManifestError, check_readable
from rockstar_serving.model_server.models.versions import Fingerprint, changed_at

# In quiet periods: how long a folder must be quiet that is known to be incomplete, and at most one
# that failed to load time and again; how long a version that has not settled keeps its place; and
# how long a server that has nothing else to serve waits for it before it starts.
INCOMPLETE, LONGEST = 8, 40
SOON, HOPELESS = 4, 40
_RSYNC = re.compile(r"\..+\.[A-Za-z0-9]{6}")
# One of these is in every version that is whole.
_MODEL = re.compile(r"model\.tflite|saved_model\..+")


@dataclass
class _Sight:
    fingerprint: Fingerprint
    first: float
    since: float


@dataclass(frozen=True)
class Unsettled:
    """A folder to wait for.

    Attributes:
        wait: seconds until it is worth another look.
        soon: whether it has stirred for so short a time that it is likely to settle soon.
        hopeless: whether it has stirred for so long that nobody should wait for it.
    """

    wait: float
    soon: bool
    hopeless: bool


class Settling:
    """Remembers what folders looked like, and for how long."""

    def __init__(
        self,
        quiet_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Make one that has seen nothing.

        Args:
            quiet_seconds: without a change, after which a folder is settled; 0: it always is.
            clock: in seconds.
            wall_clock: the one that files have their times from.
        """
        self._quiet = quiet_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._sights: dict[Path, _Sight] = {}

    def look(self, folder: Path, seen: Fingerprint, failures: int = 0) -> Unsettled | None:
        """None where a folder has settled.

        Args:
            folder: of a version.
            seen: what it looks like now.
            failures: how often it has changed and failed to load; each doubles the quiet period.
        """
        age = self._wall_clock() - changed_at(seen)
        # A change in the future means that clocks differ: then only what is seen here counts.
        if age >= self._quiet * LONGEST:
            complete, quiet = None, 0.0
        else:
            complete = _complete(folder, seen)
            times = max(INCOMPLETE if complete is False else 1, 2**failures)
            quiet = self._quiet * min(times, LONGEST)
        if (complete and not failures) or not quiet or age >= quiet:
            self._sights.pop(folder, None)
            return None
        now = self._clock()
        sight = self._sights.setdefault(folder, _Sight(seen, now, now))
        if sight.fingerprint != seen:
            sight.fingerprint, sight.since = seen, now
        left = quiet - max(now - sight.since, age)
        if left <= 0:
            del self._sights[folder]
            return None
        watched = now - sight.first
        return Unsettled(left, watched < SOON * self._quiet, watched >= HOPELESS * self._quiet)

    def keep(self, folders: Collection[Path]) -> None:
        """Forget the folders that are gone."""
        for folder in self._sights.keys() - set(folders):
            del self._sights[folder]


def _complete(folder: Path, seen: Fingerprint) -> bool | None:
    """Whether everything is there; None where nothing says what should be."""
    names = [os.path.basename(entry[0]) for entry in seen]
    if any(map(_RSYNC.fullmatch, names)) or not any(map(_MODEL.fullmatch, names)):
        return False
    try:
        check_readable(folder, lambda _: False)
    except MissingManifestError:
        return None
    except ManifestError:
        return False
    return True
