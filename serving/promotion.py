"""Promotion: which version of a model a label such as `stable` stands for, and the way back."""

import re
from pathlib import Path

from serving.manifest import ManifestError, MissingManifestError, check_manifest
from serving.models_config import edit_labels
from serving.registry import RegistryError, chosen, listed

# As they stand in URLs: /v1/models/cnn/labels/stable:predict
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def promote(
    models: Path, model: str, version: int, label: str, base_path: str | None = None
) -> int | None:
    """Point a label to a version; `rollback` takes it back.

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


def _require_undamaged(folder: Path) -> None:
    try:
        check_manifest(folder)
    except MissingManifestError:
        return  # published elsewhere: nothing is known against it
    except ManifestError as error:
        raise RegistryError(f"{error}; it gets no label") from error
