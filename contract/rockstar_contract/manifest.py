"""The manifest of a version: size and SHA-256 of each of its files.

It tells a whole version from a damaged or half-copied one, without TensorFlow and without trust in
names, sizes or times.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1
# Differences that an error names before it only counts.
_NAMED = 3


class ManifestError(Exception):
    """A version that is not what was published; the message says what differs."""


class MissingManifestError(ManifestError):
    """A version without a manifest: nothing is known of what should be there."""


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one file was when it was published."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The document.

    Attributes:
        schema_version: of this format.
        files: by path within the version's folder, with "/" between its parts; all files but the
            manifest itself.
    """

    schema_version: int = SCHEMA_VERSION
    files: dict[str, FileEntry]


def write_manifest(folder: Path) -> None:
    """Write the manifest of what lies in a version's folder, over one that is there.

    Raises:
        OSError: a file cannot be read, or the manifest not be written.
    """
    entries = {name: _entry(path) for name, path in _files(folder).items()}
    document = msgspec.json.format(msgspec.json.encode(Manifest(files=entries)), indent=2)
    (folder / MANIFEST_FILE).write_bytes(document + b"\n")


def check_manifest(folder: Path) -> Manifest:
    """Compare every file of a version's folder with its manifest.

    Returns:
        The manifest, where nothing differs.

    Raises:
        MissingManifestError: there is none.
        ManifestError: it cannot be read, or files are missing, added or changed.
    """
    manifest = _read(folder)
    _compare(folder, manifest, _every)
    return manifest


def check_readable(folder: Path, reads: Callable[[str], bool]) -> None:
    """Compare a version's folder with its manifest as far as somebody will read it.

    All files of the manifest must be there with their sizes; only of those that are read the
    content is hashed, and only among those an addition matters.

    Args:
        folder: of the version.
        reads: whether a file is read, by its path within the folder.

    Raises:
        MissingManifestError: there is no manifest.
        ManifestError: it cannot be read, or files are missing, added or changed.
    """
    _compare(folder, _read(folder), reads)


def _every(_: str) -> bool:
    return True


def _read(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise MissingManifestError(
            f"{folder} has no {MANIFEST_FILE}: it was copied in part, or not published by rockstar"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} is damaged: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise ManifestError(
            f"{path} has schema version {manifest.schema_version}, this release of RockstarTF "
            f"reads {SCHEMA_VERSION}"
        )
    return manifest


def _compare(folder: Path, manifest: Manifest, reads: Callable[[str], bool]) -> None:
    try:
        found = _files(folder)
        differences = [
            difference
            for path in sorted(manifest.files.keys() | found.keys())
            if (
                difference := _difference(
                    path, manifest.files.get(path), found.get(path), reads=reads(path)
                )
            )
        ]
    except OSError as error:
        raise ManifestError(f"{folder} cannot be read: {error}") from error
    if differences:
        more = len(differences) - _NAMED
        named = "; ".join(differences[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise ManifestError(f"{folder} is not what was published: {named}")


def _difference(path: str, expected: FileEntry | None, got: Path | None, *, reads: bool) -> str:
    if expected is None:
        return f"{path} was added" if reads else ""
    if got is None:
        return f"{path} is missing"
    size = got.stat().st_size
    if size != expected.bytes:
        return f"{path} has {size} bytes, not {expected.bytes}"
    if reads and _entry(got).sha256 != expected.sha256:
        return f"{path} has another content"
    return ""


def _files(folder: Path) -> dict[str, Path]:
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    files.pop(MANIFEST_FILE, None)
    return files


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(file.tell(), digest)
