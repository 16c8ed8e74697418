"""Copies versions of models between folders, object stores and registries of images.

Folders and stores have the same layout, which servers read: MODEL/VERSION/…, and models.config for
the labels. A version appears whole, and its files are compared with its manifest on both sides:

- In a folder, it is written under another name, and renamed.
- In a store, its manifest is written first and its model last: servers wait until all files of a
  manifest are there. The manifest is only written if there is none, so of two different versions
  with one number the second is refused.
- In a registry, it is an image, whose tag is written last.

Every step can be repeated, so a transfer that was interrupted is started again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from rockstar_contract.manifest import (
    MANIFEST_FILE,
    Manifest,
    ManifestError,
    check_manifest,
    parse_manifest,
)
from rockstar_contract.text_files import open_regular
from rockstar_contract.version_folders import (
    held_versions,
    incoming,
    number_of,
    numbered,
    publish,
    served_versions,
)
from rockstar_serving import oci, registry
from rockstar_serving.model_folder import (
    CONFIG_FILE,
    HISTORY_FILE,
    ModelFolderError,
    changing,
    read_labels,
)
from rockstar_serving.model_server.models.folder_stability import MODEL_FILES
from rockstar_serving.model_server.object_store import (
    SCHEMES,
    ChangedError,
    ObjectStore,
    StorageError,
    check_url,
)

_FILE = "file://"


@dataclass(frozen=True)
class Moved:
    """A version at its place, a folder, URL or image; `new`: any of it was not there before."""

    model: str
    version: int
    place: str
    manifest: Manifest
    new: bool


def push(
    models: Path,
    model: str,
    version: int | None,
    destination: str,
    *,
    label: str | None = None,
    base_path: str | None = None,
) -> Moved:
    """Copy a version from a folder of models.

    Args:
        models: the folder.
        model: its name.
        version: its number; None: the newest that is served.
        destination: another folder of models, the URL of one in an object store, or an image.
        label: to point to the version there, such as "stable".
        base_path: the folder of models as servers find it there; stored for later calls.

    Raises:
        ModelFolderError: no such version, a damaged one or one without a manifest, another version
            with this number at the destination, or a destination that cannot be used.
    """
    folder = registry.find_version(models, model, version)
    number = number_of(folder)
    manifest = _checked(folder)
    if destination.startswith(oci.SCHEME):
        image = oci.parse_reference(destination)
        image = image if image.tag else replace(image, tag=str(number))
        with _Folder(folder).explained():
            new = oci.push(image, folder, manifest, model, number, label)
        return Moved(model, number, str(image), manifest, new)
    place = _place(destination)
    if numbered(place.folders("")):
        raise ModelFolderError(f"{destination} is a model: name the folder that holds it")
    if isinstance(place, _Bucket):
        with _Folder(folder).explained():
            new = place.push(folder, manifest, model, number)
        if label is not None:
            place.promote(model, number, label, base_path)
        return Moved(model, number, f"{place.url}/{model}/{number}", manifest, new)
    target = place.path
    moved = _install(target, model, number, manifest, _Folder(models), folder.name)
    if label is not None:
        registry.promote(target, model, number, label, base_path)
    return moved


def pull(source: str, models: Path, *, label: str | None = None) -> Moved:
    """Copy a version into a folder of models.

    Args:
        source: MODEL, MODEL/VERSION or MODEL/LABEL below a folder of models or the URL of one, by
            default the newest version; or an image, whose name ends with that of the model.
        models: the folder.
        label: to point to the version there, such as "stable".

    Raises:
        ModelFolderError: no such version, a damaged one or one without a manifest, another version
            with this number in the folder, or a source that cannot be used.
    """
    if source.startswith(oci.SCHEME):
        moved = _pull_image(oci.parse_reference(source), models)
    else:
        place, model, number, name = _find(source)
        document = place.read(f"{model}/{name}/{MANIFEST_FILE}")
        if document is None:
            raise ModelFolderError(
                f"{source}: version {number} has no {MANIFEST_FILE} to check its files with: it is "
                "still being copied, or was not published by rockstar"
            )
        try:
            manifest = parse_manifest(document, f"{source}: {MANIFEST_FILE}")
        except ManifestError as error:
            raise ModelFolderError(str(error)) from error
        moved = _install(models, model, number, manifest, place, name)
    if label is not None:
        registry.promote(models, moved.model, moved.version, label)
    return moved


class _Folder:
    """A folder of models on this machine; paths are below it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise a ModelFolderError for an OSError in this context."""
        try:
            yield
        except OSError as error:
            raise ModelFolderError(f"{error.filename or self.path}: {error.strerror}") from error

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder; none if there is no such folder."""
        folder = self.path / path
        with self.explained():
            entries = folder.iterdir() if folder.is_dir() else ()
            return [entry.name for entry in entries if entry.is_dir()]

    def read(self, path: str) -> bytes | None:
        """The content of a small file; None if there is none."""
        with self.explained():
            try:
                with open_regular(self.path / path) as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def copy(self, path: str, to: Path) -> None:
        """Copy a file; raises OSError if it cannot be written."""
        shutil.copyfile(self.path / path, to)


class _Bucket:
    """A folder of models in an object store; paths are below its URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        with self._explained():
            check_url(url)
        self.url = url.rstrip("/")
        self._store = ObjectStore(self.url)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise ModelFolderError(f"{self.url}: {error}") from error

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder."""
        with self._explained():
            return self._store.folders(path)

    def read(self, path: str) -> bytes | None:
        """The content of a small object; None if there is none."""
        with self._explained():
            found = self._store.read(path)
        return None if found is None else found[0]

    def copy(self, path: str, to: Path) -> None:
        """Copy an object; raises OSError if the file cannot be written."""
        with self._explained(), to.open("wb") as file:
            file.writelines(self._store.stream(path))

    def push(self, folder: Path, manifest: Manifest, model: str, number: int) -> bool:
        """Write a version; returns whether any of it is new."""
        version = f"{model}/{number}"
        with self._explained():
            there = {stored.name for stored in self._store.objects(version)}
            document = (folder / MANIFEST_FILE).read_bytes()
            if MANIFEST_FILE not in there and there:
                raise ModelFolderError(
                    f"{self.url} has files of {model} version {number} without a {MANIFEST_FILE} "
                    "to compare them with: remove them, or push under another number"
                )
            new = MANIFEST_FILE not in there
            try:
                if new:
                    self._store.write(f"{version}/{MANIFEST_FILE}", document, replaces={})
            except ChangedError:
                new = False
            if not new and self.read(f"{version}/{MANIFEST_FILE}") != document:
                raise _other_content(f"{self.url}/{version}")
            # The model last.
            for name in sorted(manifest.files, key=lambda n: (bool(MODEL_FILES.fullmatch(n)), n)):
                path, sent = f"{version}/{name}", manifest.files[name].sha256
                if name in there and self._sha256(path) == sent:
                    continue
                new = True
                self._store.write(path, folder / name)
                if self._sha256(path) != sent:
                    raise ModelFolderError(f"{self.url}/{path} is not what was sent: push again")
        return new

    def _sha256(self, path: str) -> str:
        digest = sha256()
        for chunk in self._store.stream(path):
            digest.update(chunk)
        return digest.hexdigest()

    def promote(self, model: str, number: int, label: str, base_path: str | None) -> None:
        """Point a label to a version in models.config, as `registry.promote` does in a folder."""
        with TemporaryDirectory() as name, self._explained():
            folder = Path(name)
            for each in self._store.folders():
                for version in numbered(self._store.folders(each)).values():
                    (folder / each / version).mkdir(parents=True)
            tags = {}
            for file in (HISTORY_FILE, CONFIG_FILE):
                content, tags[file] = self._store.read(file) or (b"", {})
                if content:
                    (folder / file).write_bytes(content)
            base_path = base_path or read_labels(folder).history.base_path or self.url
            registry.promote(folder, model, number, label, base_path)
            for file, tag in tags.items():
                try:
                    self._store.write(file, (folder / file).read_bytes(), replaces=tag)
                except ChangedError as error:
                    raise ModelFolderError(
                        f"{self.url}: labels were changed by somebody else meanwhile, so {label} "
                        "has not moved: run the command again"
                    ) from error


def _place(name: str) -> _Folder | _Bucket:
    """Find the folder of models of a path or URL, which need not exist."""
    if "://" in name and not name.startswith(_FILE):
        if name.partition("://")[0] not in SCHEMES:
            schemes = ", ".join(f"{scheme}://" for scheme in ("oci", *SCHEMES))
            raise ModelFolderError(f"{name}: expected a folder or a URL that begins with {schemes}")
        return _Bucket(name)
    return _Folder(Path(name.removeprefix(_FILE)))


def _find(source: str) -> tuple[_Folder | _Bucket, str, int, str]:
    """Find a version: its folder of models, its model and number, and the name of its folder."""
    parent, _, last = source.rstrip("/").rpartition("/")
    if not last.isdigit():
        versions = numbered(_place(source).folders(""))
        if versions:
            number = max(versions)
            return _place(parent or "."), last, number, versions[number]
    models, _, model = parent.rpartition("/")
    place = _place(models or ".") if model and not models.endswith(":/") else None
    versions = numbered(place.folders(model)) if place else {}
    if place is None or not versions:
        raise ModelFolderError(
            f"{source} does not exist: expected MODEL, MODEL/VERSION or MODEL/LABEL in a folder of "
            "models, such as models/cnn/3"
        )
    labels = _labels(place, model)
    number = int(last) if last.isdigit() else labels.get(last, -1)
    if number not in versions:
        raise ModelFolderError(
            f"{source} does not exist: {parent} has the versions "
            f"{registry.sorted_names(versions)} and the labels "
            f"{registry.sorted_names(labels) or '(none)'}"
        )
    return place, model, number, versions[number]


def _labels(place: _Folder | _Bucket, model: str) -> dict[str, int]:
    with TemporaryDirectory() as name:
        (Path(name) / CONFIG_FILE).write_bytes(place.read(CONFIG_FILE) or b"")
        return read_labels(Path(name)).labels(model)


def _install(
    models: Path, model: str, number: int, manifest: Manifest, place: _Folder | _Bucket, name: str
) -> Moved:
    """Copy a version into a folder of models."""
    base = models / model
    new = not _is_there(base, number, manifest)
    if new:
        with changing(base), incoming(base) as folder:
            version = folder / str(number)
            for path in (*manifest.files, MANIFEST_FILE):
                (version / path).parent.mkdir(parents=True, exist_ok=True)
                place.copy(f"{model}/{name}/{path}", version / path)
            new = _publish(version, base, number)
    return Moved(model, number, str(base / str(number)), manifest, new)


def _pull_image(image: oci.Reference, models: Path) -> Moved:
    image, model, layers = oci.find(image)
    base = models / model
    with changing(base), incoming(base) as folder:
        oci.unpack(image, layers, folder)
        versions = served_versions(folder)
        if len(versions) != 1:
            raise ModelFolderError(
                f"{image}: expected /models/VERSION with one version in it, got "
                f"{registry.sorted_names(versions) or 'none'}"
            )
        ((number, version),) = versions.items()
        manifest = _checked(version)
        new = _publish(version, base, number)
    return Moved(model, number, str(base / str(number)), manifest, new)


def _publish(version: Path, base: Path, number: int) -> bool:
    """Publish a copied version, unless it is there; raises ModelFolderError or OSError."""
    manifest = _checked(version)
    if _is_there(base, number, manifest):
        return False
    publish(version, base / str(number))
    return True


def _is_there(base: Path, number: int, manifest: Manifest) -> bool:
    """Whether a version is in a model's folder; raises ModelFolderError if it is another one."""
    versions = {**held_versions(base), **served_versions(base)} if base.is_dir() else {}
    if number not in versions:
        return False
    if _checked(versions[number]).files != manifest.files:
        raise _other_content(versions[number])
    return True


def _other_content(place: object) -> ModelFolderError:
    return ModelFolderError(
        f"{place} exists and has another content: publish yours under another number"
    )


def _checked(folder: Path) -> Manifest:
    try:
        return check_manifest(folder)
    except ManifestError as error:
        raise ModelFolderError(str(error)) from error
