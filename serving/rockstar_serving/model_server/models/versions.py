"""The version folders of a model."""

import os
from collections.abc import Iterable
from pathlib import Path

from tfs_api.model_ref import MAX_VERSION

# Of each file and folder: path, size, and the times at which its content and its entry changed.
Fingerprint = frozenset[tuple[str, int, int, int]]


def scan(base_path: Path) -> dict[int, Path]:
    """The versions in a folder: its subfolders whose names are whole numbers.

    Raises:
        OSError: the folder is missing or cannot be read.
    """
    names = [name for name in os.listdir(base_path) if (base_path / name).is_dir()]
    return {version: base_path / name for version, name in numbered(names).items()}


def numbered(folders: Iterable[str]) -> dict[int, str]:
    """The names of folders that are whole numbers, and so versions."""
    # Sorted, so that of "1" and "01" always the same one counts: the shorter.
    return {
        int(name): name
        for name in sorted(folders, key=lambda name: (-len(name), name))
        if name.isascii() and name.isdigit() and int(name) <= MAX_VERSION
    }


def fingerprint(folder: Path) -> Fingerprint:
    """What changes when something in a folder does."""
    return frozenset(_entries(folder))


def changed_at(seen: Fingerprint) -> float:
    """When something changed last, on the clock of time.time(); 0.0 for what is not there."""
    return max((max(entry[2], entry[3]) for entry in seen), default=0) / 1e9


def _entries(folder: Path) -> Iterable[tuple[str, int, int, int]]:
    for root, _, names in os.walk(folder):
        # The folder's own time of change of its entry is left out: renaming it, which is how a
        # version is published in one step, changes that.
        for path in (root, *(os.path.join(root, name) for name in names)):
            try:
                stat = os.stat(path)
            except OSError:
                continue  # gone between the listing and now
            entry = 0 if path == root else stat.st_ctime_ns
            yield path, stat.st_size, stat.st_mtime_ns, entry
