"""Version folders of a model: served and held versions, and the last number that was removed.

models/cnn/2         served
models/cnn/held-3    published but not served: its name is not a version to any server
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rockstar_contract.text_files import replace_file, sync

# Prefix of the folder of a held version.
HELD_PREFIX = "held-"
# In a version folder: predicts one example, on phones and in browsers, and contains the contract.
EDGE_FILE = "edge.tflite"
_INCOMING = ".incoming-"
_LOCK = ".lock"
_LAST_REMOVED = ".last-removed"
# TensorFlow Serving reads versions as int64.
_MAX_VERSION = 2**63 - 1


def numbered(names: Iterable[str]) -> dict[int, str]:
    """Map versions to the names that are whole numbers, in ascending order.

    Of "1" and "01", the shorter name is used.
    """
    found = {
        int(name): name
        for name in sorted(names, key=lambda name: (-len(name), name))
        if name.isascii() and name.isdigit() and int(name) <= _MAX_VERSION
    }
    return dict(sorted(found.items()))


def served_versions(model: Path) -> dict[int, Path]:
    """List the versions that servers find in a model's folder, in ascending order."""
    return _versions(model, "")


def held_versions(model: Path) -> dict[int, Path]:
    """List the held versions in a model's folder, such as `held-3`, in ascending order.

    No server loads them, including TensorFlow Serving, because their names are not numbers.
    """
    return _versions(model, HELD_PREFIX)


def number_of(folder: Path) -> int:
    """The number of a version, served or held, by its folder."""
    return int(folder.name.removeprefix(HELD_PREFIX))


def last_removed(model: Path) -> int:
    """The highest version that was ever removed from a model's folder; 0 if none was.

    Its number must not be reused, because servers, clients and logs know it as another version.
    """
    try:
        return int((model / _LAST_REMOVED).read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def remember_removed(model: Path, version: int) -> None:
    """Record a removed version, so that its number is not reused."""
    if version > last_removed(model):
        replace_file(model / _LAST_REMOVED, b"%d" % version)


@contextmanager
def incoming(model: Path) -> Iterator[Path]:
    """Make a folder for the files of a new version; what is left of it in the end is removed.

    Other publishers of this model wait until the body ends. Raises OSError.
    """
    model.mkdir(parents=True, exist_ok=True)
    # The lock ends with the process that holds it, even if it is killed. The file stays: if it were
    # removed, two publishers could lock two files of the same name.
    with (model / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in model.glob(f"{_INCOMING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        # Not tempfile, whose folders other users, such as the server's, cannot read.
        folder = model / f"{_INCOMING}{secrets.token_hex(8)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, target: Path) -> None:
    """Rename a complete folder, so that servers, and a crash, find all of it or nothing.

    Raises OSError, also if there is something at the target.
    """
    for path in (*folder.rglob("*"), folder):
        sync(path)
    # A rename would silently replace an empty folder that was made without the lock.
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    folder.rename(target)
    sync(target.parent)


def _versions(model: Path, prefix: str) -> dict[int, Path]:
    names = [path.name for path in model.iterdir() if path.is_dir()]
    found = numbered(name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return {version: model / f"{prefix}{name}" for version, name in found.items()}
