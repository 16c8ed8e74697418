"""What the subfolders of an image folder mean: classes, or splits that hold the classes.

photos/cat/1.jpg              a folder for each class; the folders below it belong to it
photos/train/cat/1.jpg        splits, as Kaggle, Keras and torchvision examples have them
photos/val/cat/2.jpg
photos/test/cat/3.jpg
photos/seg_train/seg_train/…  the same, with a prefix and unpacked into a folder of its own
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from serving.limits import IMAGE_SUFFIXES
from training.errors import DataError

Split = Literal["train", "validation", "test"]

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
# What operating systems and archivers leave behind, in lower case.
_SYSTEM_NAMES = frozenset(
    [
        "$recycle.bin",
        "__macosx",
        "@eadir",
        "desktop.ini",
        "ehthumbs.db",
        "lost+found",
        "system volume information",
        "thumbs.db",
    ]
)


class Example(NamedTuple):
    """A file that may be an image, its class, and its split where the folders say so."""

    path: Path
    label: int
    split: Split | None


class Layout(NamedTuple):
    """What a folder holds.

    Attributes:
        label_names: of the class folders, sorted.
        examples: by class, then by path.
        skipped: what is not used and why, such as "photos/__MACOSX: a system folder".
    """

    label_names: list[str]
    examples: list[Example]
    skipped: list[str]


class _File(NamedTuple):
    """A file, and the folders that lead to it from the one that is looked at, with its name."""

    path: Path
    parts: tuple[str, ...]

    def below(self) -> "_File":
        return _File(self.path, self.parts[1:])


def read_layout(folder: Path, validation: Path | None = None, test: Path | None = None) -> Layout:
    """Find the splits and classes of a folder; opens no file.

    Args:
        folder: of class folders, or of splits.
        validation: class folders to validate with, if they are elsewhere.
        test: class folders to test with, likewise.

    Raises:
        DataError: a folder cannot be read, or the first has fewer than two classes.
    """
    files, skipped = _walk(folder)
    if validation or test:
        return _separate_layout(folder, files, {"validation": validation, "test": test}, skipped)
    splits = _splits(files)
    if not splits:
        inner = _unwrapped(files, known=())
        if splits := _splits(inner):
            files = inner
    if splits:
        return _split_layout(folder, files, splits, skipped)
    _require_class_folders_in_splits(folder, files)
    names = sorted({file.parts[0] for file in files if len(file.parts) > 1})
    outside = [file for file in files if len(file.parts) == 1]
    require_two_classes(folder, names, outside=len(outside))
    labels = {name: label for label, name in enumerate(names)}
    examples = [
        Example(file.path, labels[file.parts[0]], None) for file in files if len(file.parts) > 1
    ]
    skipped += _outside(outside)
    return Layout(names, sorted(examples, key=_order), skipped)


def require_two_classes(folder: Path, names: Sequence[str], outside: int = 0) -> None:
    """Refuse a folder with a single class or none.

    Args:
        folder: to name.
        names: of its classes.
        outside: how many files lie in it directly.

    Raises:
        DataError: it says what to do.
    """
    if len(names) == 1:
        raise DataError(
            f"{folder}: expected two or more class folders, got only {names[0]}: add a folder with "
            "images of something else, such as 'other'; or, if the folders in it are the classes, "
            f"give --data folder:{folder / names[0]}"
        )
    if not names:
        got = f"none and {outside} files" if outside else "none"
        raise DataError(
            f"{folder}: expected two or more subfolders, each with the images of one class, got "
            f"{got}: make a subfolder for each class and move its images there"
        )


def _separate_layout(
    folder: Path, files: list[_File], others: dict[Split, Path | None], skipped: list[str]
) -> Layout:
    """The splits are folders that do not lie in one; each is known by its path."""
    train = str(folder)
    splits: dict[str, Split] = {train: "train"}
    every = [_File(file.path, (train, *file.parts)) for file in files]
    for split, other in others.items():
        if other is not None:
            found, also_skipped = _walk(other)
            every += [_File(file.path, (str(other), *file.parts)) for file in found]
            skipped = [*skipped, *also_skipped]
            splits[str(other)] = split
    return _split_layout(Path(), every, splits, skipped)


def _split_layout(
    folder: Path, files: list[_File], splits: dict[str, Split], skipped: list[str]
) -> Layout:
    """The classes are those of the training split."""
    others = {file.parts[0] for file in files if len(file.parts) > 1} - set(splits)
    skipped += [f"{folder / name}: not a split as {', '.join(splits)} are" for name in others]
    skipped += _outside([file for file in files if len(file.parts) == 1])
    inside = {name: [f.below() for f in files if f.parts[0] == name] for name in splits}
    train = [name for name, split in splits.items() if split == "train"]
    inside |= {name: _unwrapped(inside[name], known=()) for name in train}
    names = sorted({f.parts[0] for name in train for f in inside[name] if len(f.parts) > 1})
    require_two_classes(folder / train[0], names)
    labels = {name.casefold(): label for label, name in enumerate(names)}
    exact = {name: label for label, name in enumerate(names)}
    examples: list[Example] = []
    for name, split in splits.items():
        own = _unwrapped(inside[name], known=labels)
        skipped += _outside([file for file in own if len(file.parts) == 1])
        unknown: Counter[str] = Counter()
        for file in own:
            label = exact.get(file.parts[0], labels.get(file.parts[0].casefold()))
            if len(file.parts) == 1:
                continue
            if label is None:
                unknown[file.parts[0]] += 1
            else:
                examples.append(Example(file.path, label, split))
        skipped += [
            f"{folder / name / other}: a class that {train[0]} does not have ({count} files)"
            for other, count in unknown.items()
        ]
    return Layout(names, sorted(examples, key=_order), skipped)


def _splits(files: list[_File]) -> dict[str, Split]:
    """The folders that are splits; empty where the folders are classes.

    A class may be called "train" too. So a split must hold folders of images, and stands beside
    another split or alone.
    """
    images = [file for file in files if file.path.suffix.lower() in IMAGE_SUFFIXES]
    found = {file.parts[0]: _split_of(file.parts[0]) for file in images if len(file.parts) > 2}
    splits = {name: split for name, split in sorted(found.items()) if split is not None}
    others = {file.parts[0] for file in images if len(file.parts) > 1} - set(splits)
    kinds = set(splits.values())
    alone = all(_split_of(name) for name in others)
    return splits if "train" in kinds and (len(kinds) > 1 or alone) else {}


def _split_of(name: str) -> Split | None:
    """The split that a folder's name means, as "Training", "test_set" and "seg_train" do."""
    words = re.split(r"[\W_]+", name.casefold())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _require_class_folders_in_splits(folder: Path, files: list[_File]) -> None:
    direct = sorted({file.parts[0] for file in files if len(file.parts) == 2})
    kinds = {_split_of(name) for name in direct}
    if "train" in kinds and len(kinds) > 1 and None not in kinds:
        raise DataError(
            f"{folder}: {' and '.join(direct)} hold images without class folders: make a subfolder "
            f"for each class in them, such as {folder / direct[0] / 'cat'}"
        )


def _unwrapped(files: list[_File], known: Collection[str]) -> list[_File]:
    """The files as seen from the folder that holds more than one, as archives often unpack.

    Args:
        files: of a folder.
        known: classes, in lower case; a folder of one of these is not looked into.
    """
    while True:
        names = {file.parts[0] for file in files if len(file.parts) > 1}
        nested = any(len(file.parts) > 2 for file in files)
        if len(names) != 1 or not nested or names.pop().casefold() in known:
            return files
        files = [file.below() for file in files if len(file.parts) > 1]


def _walk(folder: Path) -> tuple[list[_File], list[str]]:
    """The files, without those that are hidden or the system's, and what was left out."""
    files: list[_File] = []
    skipped: list[str] = []
    hidden: list[str] = []
    seen: set[str] = set()

    def fail(error: OSError) -> None:
        raise error

    try:
        for place, names, file_names in os.walk(folder, onerror=fail, followlinks=True):
            here = Path(place)
            seen.add(os.path.realpath(here))
            skipped += [f"{here / name}: a {why} folder" for name in names if (why := _why(name))]
            # A link to a folder above would lead around in a circle.
            names[:] = sorted(
                n for n in names if not _why(n) and os.path.realpath(here / n) not in seen
            )
            visible = sorted(name for name in file_names if not _why(name))
            hidden += [name for name in file_names if _why(name)]
            if here != folder and not names and not visible:
                skipped.append(f"{here}: an empty folder")
            above = tuple(map(_text, here.relative_to(folder).parts))
            files += [_File(here / name, (*above, _text(name))) for name in visible]
    except OSError as error:
        what = {
            FileNotFoundError: f"no such folder: {folder}",
            NotADirectoryError: f"{folder} is a file; unpack an archive first",
        }.get(type(error), f"{error.filename} cannot be read ({error.strerror})")
        raise DataError(
            f"{what}: name a folder with a subfolder of images for each class"
        ) from error
    if hidden:
        names = sorted(set(hidden))[:3]
        skipped.append(f"hidden or system files: {len(hidden)}, such as {', '.join(names)}")
    return files, skipped


def _why(name: str) -> str:
    """Why a name is left out; empty where it is not."""
    if name.casefold() in _SYSTEM_NAMES:
        return "system"
    return "hidden" if name.startswith(".") else ""


def _outside(files: list[_File]) -> list[str]:
    if not files:
        return []
    first = files[0].path
    return [f"{first.parent}: files outside class folders: {len(files)}, such as {first.name}"]


def _order(example: Example) -> tuple[int, Path]:
    return example.label, example.path


def _text(name: str) -> str:
    """A name as text that fits in JSON, the same however its accents are composed."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))
