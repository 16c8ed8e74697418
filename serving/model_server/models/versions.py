"""The version folders of a model."""

import os
from collections.abc import Iterable
from pathlib import Path

MAX_VERSION = 2**63 - 1
Fingerprint = frozenset[tuple[str, int, int]]


def scan(base_path: Path) -> dict[int, Path]:
    """The versions in a folder: its subfolders whose names are whole numbers.

    Raises:
        OSError: the folder is missing or cannot be read.
    """
    found = {}
    # Sorted, so that of "1" and "01" always the same one counts: the shorter.
    for name in sorted(os.listdir(base_path), key=lambda name: (-len(name), name)):
        if name.isascii() and name.isdigit() and int(name) <= MAX_VERSION:
            path = base_path / name
            if path.is_dir():
                found[int(name)] = path
    return found


def fingerprint(folder: Path) -> Fingerprint:
    """What changes when a file in a folder does: paths, sizes and times of change."""
    return frozenset(_files(folder))


def _files(folder: Path) -> Iterable[tuple[str, int, int]]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            try:
                stat = os.stat(path)
            except OSError:
                continue  # gone between the listing and now
            yield path, stat.st_size, stat.st_mtime_ns
