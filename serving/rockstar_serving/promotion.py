"""Promotion: which version of a model is served or has a label such as `stable`, and the way back.

A server answers who names no version with the highest one that it finds, TensorFlow Serving too. So
a version that is not to answer must not be found: its folder `3` is renamed to `held-3`, in one
step and whatever a server's version policy is. Promoting a held version gives it its name back.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from rockstar_contract.manifest import ManifestError, MissingManifestError, check_manifest
from rockstar_contract.version_folders import HELD_PREFIX, held_versions
from rockstar_serving.model_folder import ModelFolderError
from rockstar_serving.models_config import edit_labels, read_labels
from rockstar_serving.registry import RegistryError, chosen, listed

STABLE = "stable"
# As they stand in URLs: /v1/models/cnn/labels/stable:predict
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def promote(
    models: Path, model: str, version: int, label: str, base_path: str | None = None
) -> int | None:
    """Point a label to a version, which is served from now on if it was held.

    `rollback` takes it back.

    Args:
        models: the folder of models.
        model: its name.
        version: exists, and is what its manifest says, where it has one.
        label: such as "stable" or "canary".
        base_path: where TensorFlow Serving sees the folder of models, from now on.

    Returns:
        The version that had the label before, or None.

    Raises:
        RegistryError: no such model or version, a damaged version, or a name that cannot be.
        ModelFolderError: no such folder, or it cannot be changed.
    """
    if not _LABEL.fullmatch(label):
        raise RegistryError(f"label: expected letters, digits, _ . -, got {label!r}")
    if base_path is not None and not (base_path.startswith("/") or "://" in base_path):
        raise RegistryError(f"base path: expected an absolute path or a URI, got {base_path!r}")
    _release(models, model, version)
    with edit_labels(models) as book:
        ((_, _, folder),) = chosen(models, model, version)
        _require_undamaged(folder)
        if base_path is not None:
            book.serve_from(base_path)
        before = book.labels(model).get(label)
        if before != version:
            earlier = book.earlier(model, label)
            book.move(model, label, version, earlier + ([] if before is None else [before]))
    return before


@dataclass(frozen=True)
class Restored:
    """What going back to an earlier version did.

    Attributes:
        before: the version that was served to who names none.
        now: the one that is.
        held: versions that are not served any more.
        labels: that stood for one of these and stand for `now`.
    """

    before: int
    now: int
    held: tuple[int, ...]
    labels: tuple[str, ...]


def restore(models: Path, model: str) -> Restored:
    """Serve an earlier version, whatever the version policy: the newer ones are held.

    It is the one that had the label `stable` before the newest, where the newest has it; else the
    one before the newest.

    Raises:
        RegistryError: no such model, no earlier version, or a damaged one.
        ModelFolderError: no such folder, or it cannot be changed.
    """
    folders = {number: folder for _, number, folder in chosen(models, model, None)}
    newest = max(folders)
    book = read_labels(models)
    earlier = [number for number in sorted(folders) if number < newest]
    if not earlier:
        held = listed(held_versions(models / model))
        raise RegistryError(
            f"{model} has only version {newest}, and none to go back to"
            + (f"; it holds the versions {held}: rockstar promote {model} VERSION" if held else "")
        )
    now = earlier[-1]
    if book.labels(model).get(STABLE) == newest:
        was_stable = [number for number in book.earlier(model, STABLE) if number in earlier]
        now = was_stable[-1] if was_stable else now
    _require_undamaged(folders[now], "it cannot be gone back to")
    gone = tuple(number for number in sorted(folders) if number > now)
    moving = tuple(label for label, at in book.labels(model).items() if at in gone)
    # The labels first: a crash in between leaves nothing that a second call does not finish.
    if moving or book.is_specific(model):
        with edit_labels(models) as book:
            for label in moving:
                past = [number for number in book.earlier(model, label) if number < now]
                book.move(model, label, now, past)
            book.replace_specific(model, gone, now)
    try:
        for number in reversed(gone):
            folders[number].rename(folders[number].with_name(f"{HELD_PREFIX}{number}"))
    except OSError as error:
        raise ModelFolderError(f"{models / model} cannot be changed: {error}") from error
    return Restored(newest, now, gone, moving)


def rollback(models: Path, model: str, label: str) -> tuple[int, int]:
    """Point a label to the version that had it before, if that still exists, or to one before it.

    Returns:
        The version that had the label, and the one that has it now.

    Raises:
        RegistryError: no such model or label, or nothing to go back to.
        ModelFolderError: no such folder, or it cannot be changed.
    """
    with edit_labels(models) as book:
        existing = {number for _, number, _ in chosen(models, model, None)}
        now = book.labels(model).get(label)
        if now is None:
            has = listed(book.labels(model)) or "none"
            raise RegistryError(f"{model} has no label {label}; its labels are: {has}")
        earlier = book.earlier(model, label)
        while earlier:
            before = earlier.pop()
            if before in existing and before != now:
                book.move(model, label, before, earlier)
                return now, before
        raise RegistryError(
            f"{model} has no version left that had the label {label} before version {now}; it has "
            f"the versions {listed(existing)}: rockstar promote {model} VERSION --label {label}"
        )


def _release(models: Path, model: str, version: int) -> None:
    """Give a held version its name back, and servers with it."""
    base = models / model
    held = held_versions(base).get(version) if base.is_dir() else None
    if held is None:
        return
    _require_undamaged(held, "it is not served")
    try:
        if held.with_name(str(version)).exists():
            raise RegistryError(f"{base} has both {held.name} and {version}: remove one of them")
        held.rename(held.with_name(str(version)))
    except OSError as error:
        raise ModelFolderError(f"{base} cannot be changed: {error}") from error


def _require_undamaged(folder: Path, consequence: str = "it gets no label") -> None:
    try:
        check_manifest(folder)
    except MissingManifestError:
        return  # published elsewhere: nothing is known against it
    except ManifestError as error:
        raise RegistryError(f"{error}; {consequence}") from error
