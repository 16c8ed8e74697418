"""The manifest of a version: size and SHA-256 of each of its files.

It tells a whole version from a damaged or half-copied one, without TensorFlow and without trust in
names, sizes or times.
"""

import hashlib
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
    document = msgspec.json.format(msgspec.json.encode(Manifest(files=_entries(folder))), indent=2)
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
    try:
        found = _entries(folder)
    except OSError as error:
        raise ManifestError(f"{folder} cannot be read: {error}") from error
    differences = [
        difference
        for path in sorted(manifest.files.keys() | found.keys())
        if (difference := _difference(path, manifest.files.get(path), found.get(path)))
    ]
    if differences:
        more = len(differences) - _NAMED
        named = "; ".join(differences[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise ManifestError(f"{folder} is not what was published: {named}")
    return manifest


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


def _entries(folder: Path) -> dict[str, FileEntry]:
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    files.pop(MANIFEST_FILE, None)
    return {name: _entry(path) for name, path in files.items()}


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(file.tell(), digest)


def _difference(path: str, expected: FileEntry | None, got: FileEntry | None) -> str:
    if expected is None:
        return f"{path} was added"
    if got is None:
        return f"{path} is missing"
    if got.bytes != expected.bytes:
        return f"{path} has {got.bytes} bytes, not {expected.bytes}"
    return f"{path} has another content" if got.sha256 != expected.sha256 else ""
