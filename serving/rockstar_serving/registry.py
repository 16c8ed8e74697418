"""The registry: the versions in a model folder, their labels, promotion and rollback.

Everything is read from the folder itself: contracts, manifests and `models.config`.

Without a version in the request, servers use the highest one that they find, as TensorFlow Serving
does. A version that must not be served is therefore held: its folder `3` is renamed to `held-3`,
which is atomic and independent of the version policy. Promoting a held version renames it back.
"""

import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rockstar_contract.contract import CONTRACT_FILE, Contract, ContractError
from rockstar_contract.manifest import ManifestError, MissingManifestError, check_manifest
from rockstar_contract.text_files import open_regular
from rockstar_contract.version_folders import (
    HELD_PREFIX,
    held_versions,
    remember_removed,
    served_versions,
)
from rockstar_serving.model_folder import (
    LabelBook,
    ModelFolderError,
    changing,
    edit_labels,
    find_models,
    read_labels,
)

STABLE = "stable"
# Labels appear in URLs: /v1/models/cnn/labels/stable:predict
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_REMOVED = ".removed-"
_Name = TypeVar("_Name", int, str)


@dataclass(frozen=True)
class Version:
    """One version of a model; a held one is published but not served.

    `bytes` is the total size of its files. `problem` says why the contract or the size is missing.
    """

    model: str
    number: int
    folder: Path
    held: bool
    labels: tuple[str, ...]
    bytes: int
    contract: Contract | None
    problem: str


@dataclass(frozen=True)
class Verdict:
    """The result of comparing a version with its manifest; `problem` is "" if nothing differs."""

    model: str
    number: int
    files: int
    problem: str


@dataclass(frozen=True)
class Restored:
    """The versions that were and are served by default, when an earlier one is restored.

    The held ones are no longer served; `labels` are those that moved from one of them to `now`.
    """

    before: int
    now: int
    held: tuple[int, ...]
    labels: tuple[str, ...]


def list_versions(models: Path, model: str | None = None) -> list[Version]:
    """List the versions of one model or of all, sorted by name and number.

    Raises ModelFolderError: no such folder or model, or a file that cannot be read.
    """
    book = read_labels(models)
    versions = [_describe(*each, book) for each in _select(models, model)]
    for name in find_models(models):
        if model in (None, name):
            versions += _held(models, name, book)
    return sorted(versions, key=lambda version: (version.model, version.number))


def find_version(models: Path, model: str, version: int | None = None) -> Path:
    """The folder of a version, served or held; by default, of the newest that is served.

    Raises ModelFolderError: no such folder, model or version.
    """
    base = models / model
    held = held_versions(base) if base.is_dir() else {}
    if version in held:
        return held[version]
    *_, (_, _, folder) = _select(models, model, version)
    return folder


def unpublish(models: Path, model: str, version: int) -> bool:
    """Remove a version, served or held, atomically for servers and readers.

    Its number is not used again. Returns whether any served versions are left.

    Raises ModelFolderError: no such model or version, or one with a label.
    """
    base = models / model
    folder = held_versions(base).get(version) if base.is_dir() else None
    if folder is None:
        ((_, _, folder),) = _select(models, model, version)
        labels = [label for label, at in read_labels(models).labels(model).items() if at == version]
        if labels:
            raise ModelFolderError(
                f"{model} version {version} has the label {sorted_names(labels)}: give it to "
                f"another version first (rockstar promote {model} VERSION --label {labels[0]}), "
                f"or go back with rockstar rollback {model}"
            )
    with changing(base):
        remember_removed(base, version)
        _remove(folder)
        return bool(served_versions(base))


def prune(models: Path, model: str, keep: int, *, dry_run: bool = False) -> list[Version]:
    """Remove the old versions of a model, and return them; with `dry_run`, only return them.

    As many of the newest versions as `keep` stay, besides those with a label; at least 1, because a
    number must not be reused. Held versions older than all of these are removed.

    Raises ModelFolderError: no such folder or model, or nothing would be kept.
    """
    if keep < 1:
        raise ModelFolderError(f"keep: expected at least 1, got {keep}")
    if dry_run:
        return _to_remove(models, model, keep, read_labels(models))
    with edit_labels(models) as book:
        for leftover in (models / model).glob(f"{_REMOVED}*"):
            shutil.rmtree(leftover)
        versions = _to_remove(models, model, keep, book)
        for version in versions:
            _remove(version.folder)
    return versions


def _to_remove(models: Path, model: str, keep: int, book: LabelBook) -> list[Version]:
    versions = [_describe(*each, book) for each in _select(models, model)]
    oldest = versions[-keep:][0].number
    held = [version for version in _held(models, model, book) if version.number < oldest]
    return [*(version for version in versions[:-keep] if not version.labels), *held]


def verify(models: Path, model: str | None = None, version: int | None = None) -> Iterator[Verdict]:
    """Compare versions with their manifests: one, all of a model, or all.

    Raises ModelFolderError: no such folder, model or version.
    """
    for name, number, folder in _select(models, model, version):
        try:
            yield Verdict(name, number, len(check_manifest(folder).files), "")
        except ManifestError as error:
            yield Verdict(name, number, 0, str(error))


def promote(
    models: Path, model: str, version: int, label: str, base_path: str | None = None
) -> int | None:
    """Point a label such as "stable" to a version, and serve the version if it was held.

    Returns the version that had the label before, or None; `rollback` reverts the label.
    `base_path` is the folder of models as TensorFlow Serving finds it, stored for later calls.

    Raises ModelFolderError: no such model or version, a damaged version, or an invalid label.
    """
    if not _LABEL.fullmatch(label):
        raise ModelFolderError(f"label: expected letters, digits, _ . -, got {label!r}")
    if base_path is not None and not (base_path.startswith("/") or "://" in base_path):
        raise ModelFolderError(f"base path: expected an absolute path or a URI, got {base_path!r}")
    _release(models / model, version)
    with edit_labels(models) as book:
        ((_, _, folder),) = _select(models, model, version)
        _require_undamaged(folder, "it gets no label")
        if base_path is not None:
            book.history.base_path = base_path
        before = book.labels(model).get(label)
        if before != version:
            earlier = book.earlier(model, label)
            book.move(model, label, version, earlier + ([] if before is None else [before]))
    return before


def _release(base: Path, version: int) -> None:
    """Rename a held version back, so that servers find it."""
    held = held_versions(base).get(version) if base.is_dir() else None
    if held is None:
        return
    _require_undamaged(held, "it is not served")
    with changing(base):
        if held.with_name(str(version)).exists():
            raise ModelFolderError(f"{base} has both {held.name} and {version}: remove one of them")
        held.rename(held.with_name(str(version)))


def restore(models: Path, model: str) -> Restored:
    """Serve an earlier version by holding the newer ones, whatever the version policy.

    If the newest version has the label `stable`, restores the one that had it before; else the one
    before the newest.

    Raises ModelFolderError: no such model, no earlier version, or a damaged one.
    """
    folders = {number: folder for _, number, folder in _select(models, model)}
    *earlier, newest = folders
    book = read_labels(models)
    if not earlier:
        held = sorted_names(held_versions(models / model))
        raise ModelFolderError(
            f"{model} has only version {newest}, and none to go back to"
            + (f"; it holds the versions {held}: rockstar promote {model} VERSION" if held else "")
        )
    now = earlier[-1]
    if book.labels(model).get(STABLE) == newest:
        was_stable = [number for number in book.earlier(model, STABLE) if number in earlier]
        now = was_stable[-1] if was_stable else now
    _require_undamaged(folders[now], "it cannot be restored")
    gone = tuple(number for number in folders if number > now)
    moving = tuple(label for label, at in book.labels(model).items() if at in gone)
    # Labels first: after a crash in between, a second call completes the work.
    if moving or book.is_specific(model):
        with edit_labels(models) as book:
            for label in moving:
                past = [number for number in book.earlier(model, label) if number < now]
                book.move(model, label, now, past)
            book.replace_specific(model, gone, now)
    with changing(models / model):
        for number in reversed(gone):
            folders[number].rename(folders[number].with_name(f"{HELD_PREFIX}{number}"))
    return Restored(newest, now, gone, moving)


def rollback(models: Path, model: str, label: str) -> tuple[int, int]:
    """Point a label back to the latest existing version that had it before.

    Returns the version that had the label, and the one that has it now. Raises ModelFolderError: no
    such model or label, or no earlier version.
    """
    with edit_labels(models) as book:
        existing = {number for _, number, _ in _select(models, model)}
        now = book.labels(model).get(label)
        if now is None:
            has = sorted_names(book.labels(model)) or "none"
            raise ModelFolderError(f"{model} has no label {label}; its labels are: {has}")
        earlier = book.earlier(model, label)
        while earlier:
            before = earlier.pop()
            if before in existing and before != now:
                book.move(model, label, before, earlier)
                return now, before
        raise ModelFolderError(
            f"{model} has no version left that had the label {label} before version {now}; it has "
            f"the versions {sorted_names(existing)}: rockstar promote {model} VERSION "
            f"--label {label}"
        )


def dangling_labels(models: Path) -> list[str]:
    """Describe the labels that point to missing versions, one sentence each."""
    book = read_labels(models)
    return [
        f"{name} has the label {label} on version {number}, which is missing; "
        f"it has the versions {sorted_names(folders)}"
        for name, path in find_models(models).items()
        for label, number in book.labels(name).items()
        if number not in (folders := served_versions(path))
    ]


def sorted_names(names: Iterable[_Name]) -> str:
    """Names or numbers, sorted and separated by commas, for messages."""
    return ", ".join(map(str, sorted(names)))


def _select(
    models: Path, model: str | None, version: int | None = None
) -> Iterator[tuple[str, int, Path]]:
    """Model, number and folder of served versions, ascending: one, all of a model, or all.

    Raises ModelFolderError: no such folder, model or version.
    """
    found = find_models(models)
    if model is not None and model not in found:
        raise ModelFolderError(f"{models} holds no model {model}; it holds {', '.join(found)}")
    for name in found if model is None else [model]:
        folders = served_versions(found[name])
        if version is not None and version not in folders:
            held = sorted_names(held_versions(found[name]))
            raise ModelFolderError(
                f"{name} has no version {version}; it has the versions {sorted_names(folders)}"
                + (f", and holds {held}" if held else "")
            )
        for number in sorted(folders) if version is None else [version]:
            yield name, number, folders[number]


def _held(models: Path, model: str, book: LabelBook) -> list[Version]:
    held = held_versions(models / model)
    return [_describe(model, number, folder, book) for number, folder in held.items()]


def _describe(model: str, number: int, folder: Path, book: LabelBook) -> Version:
    labels = tuple(label for label, at in book.labels(model).items() if at == number)
    size, contract, problem = 0, None, ""
    try:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        with open_regular(folder / CONTRACT_FILE) as file:
            contract = Contract.from_json(file.read())
    except FileNotFoundError:
        problem = f"has no {CONTRACT_FILE}"
    except (OSError, ContractError, UnicodeDecodeError) as error:
        problem = f"{CONTRACT_FILE} cannot be read: {error}"
    held = folder.name.startswith(HELD_PREFIX)
    return Version(model, number, folder, held, labels, size, contract, problem)


def _require_undamaged(folder: Path, consequence: str) -> None:
    try:
        check_manifest(folder)
    except MissingManifestError:
        return  # published by other tools
    except ManifestError as error:
        raise ModelFolderError(f"{error}; {consequence}") from error


def _remove(folder: Path) -> None:
    """Rename a version before removing it, so that no server sees half a version."""
    aside = folder.with_name(f"{_REMOVED}{secrets.token_hex(8)}")
    folder.rename(aside)
    shutil.rmtree(aside)
