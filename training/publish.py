"""Publishing a version of a model: all of it or nothing, never over another one.

A version is written aside, under a name that is no number so that no server loads it, gets the
manifest of its files, is brought to disk and then renamed: whatever has a number is whole. One that
is not to be served is renamed to `held-3`, which no server loads.
Publishers of one model take turns, which is why a version's number is known while it is still being
written.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.manifest import write_manifest
from serving.version_folders import HELD_PREFIX, held_versions, last_removed
from training.errors import ExportError

_INCOMING = ".incoming-"
_LOCK = ".lock"
# As servers read names: leading zeros do not make another version.
_VERSION = re.compile(r"[0-9]+")
_LAST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Incoming:
    """A version in the making.

    Attributes:
        folder: empty, to be filled.
        version: what it will be published as.
        target: where it will then lie.
    """

    folder: Path
    version: int
    target: Path


@contextmanager
def publication(model_folder: Path, *, held: bool = False) -> Iterator[Incoming]:
    """Publish what the body writes as the next version, with its manifest; nothing if it raises.

    Args:
        model_folder: holds the versions of one model; made where there is none.
        held: whether it is not to be served, until `rockstar promote` does.

    Yields:
        The folder to fill. Other publishers of this model wait until the body is done.

    Raises:
        ExportError: the disk is full, the folder is not writable, and the like.
    """
    try:
        model_folder.mkdir(parents=True, exist_ok=True)
        with _turn(model_folder):
            _remove_leftovers(model_folder)
            incoming = _incoming(model_folder, held=held)
            try:
                yield incoming
                _reveal(incoming)
            except BaseException:
                shutil.rmtree(incoming.folder, ignore_errors=True)
                raise
    except OSError as error:
        raise ExportError(f"cannot publish in {model_folder}: {error}") from error


def versions(model_folder: Path) -> list[int]:
    """Numbers that are taken in a model's folder, ascending."""
    served = {int(entry.name) for entry in model_folder.iterdir() if _VERSION.fullmatch(entry.name)}
    return sorted(served.union(held_versions(model_folder)))


@contextmanager
def _turn(model_folder: Path) -> Iterator[None]:
    # The lock goes with the process that holds it, even when that is killed. The file stays: were
    # it removed, two publishers could hold locks on two files of the same name.
    with (model_folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_leftovers(model_folder: Path) -> None:
    """Remove what dead publishers left; a living one would hold the lock."""
    for leftover in model_folder.glob(f"{_INCOMING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _incoming(model_folder: Path, *, held: bool) -> Incoming:
    version = max([last_removed(model_folder), *versions(model_folder)]) + 1
    if version > _LAST_VERSION:
        raise ExportError(f"{model_folder} has version {_LAST_VERSION}, the last one there can be")
    # Not tempfile: its folders are closed to everyone else, such as the user a server runs as.
    folder = model_folder / f"{_INCOMING}{secrets.token_hex(8)}"
    folder.mkdir()
    name = f"{HELD_PREFIX}{version}" if held else str(version)
    return Incoming(folder, version, model_folder / name)


def _reveal(incoming: Incoming) -> None:
    write_manifest(incoming.folder)
    for path in incoming.folder.rglob("*"):
        _bring_to_disk(path)
    _bring_to_disk(incoming.folder)
    # A rename would silently replace an empty folder that someone made without taking turns.
    if incoming.target.exists():
        raise ExportError(f"{incoming.target} appeared while it was being published: try again")
    incoming.folder.rename(incoming.target)
    _bring_to_disk(incoming.target.parent)


def _bring_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
