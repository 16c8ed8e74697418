"""Versions that did not load, and when they are tried again."""

from dataclasses import dataclass

from rockstar_serving.model_server.models.versions import Fingerprint

NEVER = float("inf")


@dataclass(frozen=True)
class Failure:
    """A version that did not load.

    Attributes:
        fingerprint: of its folder when it was tried.
        tries: how often it was tried, its folder being so.
        changes: how often its folder changed and it failed again.
        retry_at: the moment of the next try, in seconds; NEVER after the last.
    """

    fingerprint: Fingerprint
    tries: int
    changes: int
    retry_at: float


class Failures:
    """The failures of one model, by version."""

    def __init__(self, max_retries: int, retry_seconds: float) -> None:
        """Make one without failures.

        Args:
            max_retries: tries after the first, while the folder stays as it is.
            retry_seconds: between tries.
        """
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        self._failures: dict[int, Failure] = {}

    def record(self, version: int, seen: Fingerprint, now: float) -> Failure:
        """A version did not load."""
        before = self._failures.get(version)
        if before is None:
            tries, changes = 1, 0
        elif before.fingerprint == seen:
            tries, changes = before.tries + 1, before.changes
        else:
            tries, changes = 1, before.changes + 1
        retry_at = now + self._retry_seconds if tries <= self._max_retries else NEVER
        self._failures[version] = Failure(seen, tries, changes, retry_at)
        return self._failures[version]

    def find(self, version: int) -> Failure | None:
        """The last failure of a version that has not loaded since."""
        return self._failures.get(version)

    def forget(self, version: int) -> None:
        """A version loaded, or is gone."""
        self._failures.pop(version, None)

    def versions(self) -> list[int]:
        """Those that failed."""
        return sorted(self._failures)
