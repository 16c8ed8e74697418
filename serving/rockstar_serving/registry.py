"""The registry: which versions a folder of models holds, what they are, and which have a label.

Everything is read from the folder itself: contracts, manifests and `models.config`.
"""

import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rockstar_contract.contract import CONTRACT_FILE, Contract, ContractError
from rockstar_contract.manifest import ManifestError, check_manifest
from rockstar_contract.version_folders import HELD_PREFIX, held_versions, remember_removed
from rockstar_serving.model_folder import ModelFolderError, find_models
from rockstar_serving.model_server.models.version_folders import scan
from rockstar_serving.models_config import LabelBook, edit_labels, read_labels

_REMOVED = ".removed-"
_Name = TypeVar("_Name", int, str)


class RegistryError(ModelFolderError):
    """A model, version or label that there is not; the message says which there are."""


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        model: its name.
        number: of the version.
        folder: where it lies.
        held: whether it is published but not served.
        labels: that point to it.
        bytes: of all its files.
        contract: None where it carries none, or one that cannot be read.
        problem: why there is no contract, or no size; "" where there are both.
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
    """What comparing a version with its manifest says; `problem` is "" where nothing differs."""

    model: str
    number: int
    files: int
    problem: str


def list_versions(models: Path, model: str | None = None) -> list[Version]:
    """The versions of one model or of all, by name and number.

    Raises:
        RegistryError: no such model.
        ModelFolderError: no such folder, nothing in it, or a file that cannot be read.
    """
    book = read_labels(models)
    served = [
        _described(name, number, folder, book)
        for name, number, folder in chosen(models, model, None)
    ]
    names = [name for name in find_models(models) if model in (None, name)]
    held = [
        _described(name, number, folder, book)
        for name in names
        for number, folder in held_versions(models / name).items()
    ]
    return sorted([*served, *held], key=lambda version: (version.model, version.number))


def unpublish(models: Path, model: str, version: int) -> bool:
    """Remove a version, served or held; for servers and readers it is gone in one step.

    Its number does not come again.

    Returns:
        Whether versions are left that are served.

    Raises:
        RegistryError: no such model or version, or it has a label.
        ModelFolderError: no such folder, or it cannot be changed.
    """
    base = models / model
    folder = held_versions(base).get(version) if base.is_dir() else None
    if folder is None:
        ((_, _, folder),) = chosen(models, model, version)
        labels = [label for label, at in read_labels(models).labels(model).items() if at == version]
        if labels:
            raise RegistryError(
                f"{model} version {version} has the label {listed(labels)}: give it to another "
                f"version first (rockstar promote {model} VERSION --label {labels[0]}), or go back "
                f"with rockstar rollback {model}"
            )
    try:
        remember_removed(base, version)
        _remove(folder)
        return bool(scan(base))
    except OSError as error:
        raise ModelFolderError(f"{base} cannot be changed: {error}") from error


def prune(models: Path, model: str, keep: int, *, dry_run: bool = False) -> list[Version]:
    """Remove the old versions of a model.

    Args:
        models: the folder of models.
        model: its name.
        keep: how many of the newest stay, besides those with a label; at least 1, because a number
            must never come twice. Of held versions those go that are older than all of these.
        dry_run: only say what would go.

    Returns:
        The versions that were removed.

    Raises:
        RegistryError: no such model, or nothing would be kept.
        ModelFolderError: no such folder, or it cannot be changed.
    """
    if keep < 1:
        raise RegistryError(f"keep: expected at least 1, got {keep}")
    if dry_run:
        return _to_remove(models, model, keep, read_labels(models))
    with edit_labels(models) as book:
        for leftover in (models / model).glob(f"{_REMOVED}*"):
            shutil.rmtree(leftover)
        versions = _to_remove(models, model, keep, book)
        for version in versions:
            _remove(version.folder)
    return versions


def verify(
    models: Path,
    model: str | None = None,
    version: int | None = None,
    seen: Callable[[Verdict], None] | None = None,
) -> list[Verdict]:
    """Compare versions with their manifests: one, those of a model, or all.

    Args:
        models: the folder of models.
        model: its name.
        version: its number.
        seen: told each verdict as it comes.

    Raises:
        RegistryError: no such model or version.
        ModelFolderError: no such folder, or nothing in it.
    """
    verdicts = []
    for name, number, folder in chosen(models, model, version):
        try:
            verdict = Verdict(name, number, len(check_manifest(folder).files), "")
        except ManifestError as error:
            verdict = Verdict(name, number, 0, str(error))
        if seen is not None:
            seen(verdict)
        verdicts.append(verdict)
    return verdicts


def dangling_labels(models: Path) -> list[str]:
    """Labels that point to a version that is not there, each in a sentence.

    Raises:
        ModelFolderError: no such folder, nothing in it, or a file that cannot be read.
    """
    book = read_labels(models)
    return [
        f"{name} has the label {label} on version {number}, which is missing; "
        f"it has the versions {listed(folders)}"
        for name, path in find_models(models).items()
        for label, number in book.labels(name).items()
        if number not in (folders := scan(path))
    ]


def chosen(models: Path, model: str | None, version: int | None) -> Iterator[tuple[str, int, Path]]:
    """Name, number and folder of the versions asked for: one, those of a model, or all.

    Raises:
        RegistryError: no such model or version.
        ModelFolderError: no such folder, or nothing in it.
    """
    found = find_models(models)
    if model is not None and model not in found:
        raise RegistryError(f"{models} holds no model {model}; it holds {', '.join(found)}")
    for name, path in found.items():
        folders = scan(path)
        if model in (None, name) and version is not None and version not in folders:
            has = listed(folders)
            raise RegistryError(f"{name} has no version {version}; it has the versions {has}")
        for number in sorted(folders):
            if model in (None, name) and version in (None, number):
                yield name, number, folders[number]


def listed(names: Iterable[_Name]) -> str:
    """Names or numbers in order, as messages list them."""
    return ", ".join(map(str, sorted(names)))


def _described(model: str, number: int, folder: Path, book: LabelBook) -> Version:
    labels = tuple(label for label, at in book.labels(model).items() if at == number)
    size, contract, problem = 0, None, ""
    try:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        contract = Contract.from_json((folder / CONTRACT_FILE).read_bytes())
    except FileNotFoundError:
        problem = f"has no {CONTRACT_FILE}"
    except (OSError, ContractError, UnicodeDecodeError) as error:
        problem = f"{CONTRACT_FILE} cannot be read: {error}"
    held = folder.name.startswith(HELD_PREFIX)
    return Version(model, number, folder, held, labels, size, contract, problem)


def _to_remove(models: Path, model: str, keep: int, book: LabelBook) -> list[Version]:
    versions = [_described(*chosen, book) for chosen in chosen(models, model, None)]
    oldest = versions[-keep:][0].number
    held = [
        _described(model, number, folder, book)
        for number, folder in held_versions(models / model).items()
        if number < oldest
    ]
    return [*(version for version in versions[:-keep] if not version.labels), *held]


def _remove(folder: Path) -> None:
    """Remove a version, out of sight in one step: half a version must not have a number."""
    aside = folder.with_name(f"{_REMOVED}{secrets.token_hex(8)}")
    folder.rename(aside)
    shutil.rmtree(aside)
