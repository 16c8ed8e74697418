"""The manifest of a version: size and SHA-256 of each of its files.

It detects damaged and partly copied versions without TensorFlow.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated

import msgspec

from rockstar_contract.text_files import open_regular

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1
# A manifest of 100,000 files takes less.
MAX_BYTES = 32 * 2**20
# Maximum number of differences in an error.
_NAMED = 3


class ManifestError(Exception):
    """A version that differs from what was published; the message lists the differences."""


class MissingManifestError(ManifestError):
    """A version without a manifest, which cannot be checked."""


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The size and hash of a file when it was published."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All files besides the manifest, by path within the version's folder, with "/"."""

    schema_version: int = SCHEMA_VERSION
    files: dict[str, FileEntry]

    def check_hash(self, folder: Path, name: str, sha256: str) -> None:
        """Compare the hash of one file of a version's folder; raises ManifestError."""
        entry = self.files.get(name)
        if entry is None:
            raise _differs(folder, f"{name} was added")
        if sha256 != entry.sha256:
            raise _differs(folder, f"{name} has another content")


def write_manifest(folder: Path) -> None:
    """Write the manifest of the files in a version's folder, replacing an existing one."""
    manifest = describe_files(folder, _files(folder))
    document = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST_FILE).write_bytes(document + b"\n")


def describe_files(folder: Path, names: Iterable[str]) -> Manifest:
    """The manifest of these files in a version's folder, as they are now; raises OSError."""
    return Manifest(files={name: _entry(folder / name) for name in names})


def check_manifest(folder: Path, reads: Callable[[str], bool] = lambda _: True) -> Manifest:
    """Compare the files in a version's folder with its manifest.

    All files of the manifest must be present with their sizes. Only files that will be read, by
    default all, are hashed, and only among these is an additional file an error.

    Raises:
        MissingManifestError: there is no manifest.
        ManifestError: it cannot be read, or files are missing, added or changed.
    """
    manifest = _read(folder)
    try:
        found = _files(folder)
        paths = sorted(manifest.files.keys() | found.keys())
        compared = (
            _difference(path, manifest.files.get(path), found.get(path), reads) for path in paths
        )
        differences = [difference for difference in compared if difference]
    except OSError as error:
        raise ManifestError(f"{folder} cannot be read: {error}") from error
    if differences:
        if (more := len(differences) - _NAMED) > 0:
            differences[_NAMED:] = [f"and {more} more"]
        raise _differs(folder, "; ".join(differences))
    return manifest


def _differs(folder: Path, difference: str) -> ManifestError:
    return ManifestError(f"{folder} is not what was published: {difference}")


def _read(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    try:
        with open_regular(path) as file:
            document = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingManifestError(
            f"{folder} has no {MANIFEST_FILE}: it was copied in part, or not published by rockstar"
        ) from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    return parse_manifest(document, str(path))


def parse_manifest(document: bytes, where: str) -> Manifest:
    """Parse a manifest; raises ManifestError, which calls it `where`."""
    try:
        if len(document) > MAX_BYTES:
            raise ManifestError(f"{where} is damaged: it has more than {MAX_BYTES} bytes")
        manifest = msgspec.json.decode(document, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestError(f"{where} is damaged: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise ManifestError(
            f"{where} has schema version {manifest.schema_version}, this release of RockstarTF "
            f"reads {SCHEMA_VERSION}"
        )
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
            raise ManifestError(f"{where} is damaged: {name!r} is no path within the version")
    return manifest


def _difference(
    path: str, expected: FileEntry | None, got: Path | None, reads: Callable[[str], bool]
) -> str:
    """Describe how a file differs; "" if it does not."""
    if expected is None:
        return f"{path} was added" if reads(path) else ""
    if got is None:
        return f"{path} is missing"
    size = got.stat().st_size
    if size != expected.bytes:
        return f"{path} has {size} bytes, not {expected.bytes}"
    if reads(path) and _entry(got).sha256 != expected.sha256:
        return f"{path} has another content"
    return ""


def _files(folder: Path) -> dict[str, Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    files = {path.relative_to(folder).as_posix(): path for path in found}
    files.pop(MANIFEST_FILE, None)
    return files


def _entry(path: Path) -> FileEntry:
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(file.tell(), digest)
