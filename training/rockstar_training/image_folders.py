"""Folders of images, decoded on demand. Subfolders are classes, or splits with classes.

photos/cat/1.jpg              one folder per class, including its subfolders
photos/train/cat/1.jpg        splits, as in Kaggle, Keras and torchvision examples
photos/val/cat/2.jpg
photos/test/cat/3.jpg
photos/seg_train/seg_train/…  splits with a prefix, each unpacked into its own folder
"""

import hashlib
import os
import re
import stat
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import ImageInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.images import decode_image, ignore_warnings
from rockstar_contract.limits import IMAGE_SUFFIXES
from rockstar_contract.preprocessing import Colour, Grey, Resize, Scale, preprocess
from rockstar_contract.text_files import utf8_name
from rockstar_training.datasets import image_input
from rockstar_training.errors import DataError
from rockstar_training.splits import Index, Split

# Tensors of up to this size are cached, so that a small folder is decoded only once.
CACHE_BYTES = 512 * 2**20
_DEFAULT_SIZE, _SMALLEST_SIZE = 64, 8
# Larger files, such as archives and videos, are not read.
_LARGEST_FILE = 256 * 2**20
# Larger differences between channels are color, not the noise of a compressed gray image.
_COLOR_DIFFERENCE = 12
_WORKERS = min(8, os.cpu_count() or 1)

SplitName = Literal["train", "validation", "test"]
_SPLITS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
# Of the names of splits, besides digits and punctuation: "testset".
_SUFFIX = re.compile(r"(?<=.)(?:set|data|images)$")
# Files and folders of operating systems and archivers, in lower case.
_SYSTEM_NAMES = (
    *("$recycle.bin", "__macosx", "@eadir", "desktop.ini", "ehthumbs.db", "lost+found"),
    *("system volume information", "thumbs.db"),
)
_SORT = (
    "make a subfolder for each class and move its images there; docs/training.md, Image folders, "
    "shows how if the labels are in a table or in the names of the files"
)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The images in a folder."""

    files: tuple[Path, ...]  # decodable, by class, then by path
    labels: NDArray[np.int64]  # [n], the class of each file
    label_names: tuple[str, ...]  # names of the class folders with images, sorted
    channels: int  # 1 if all images are gray, else 3
    size: int  # a side that suits most of the images, at most 64
    pixels: tuple[bytes, ...]  # a digest of each file's pixels
    sha256: str  # of the files and their labels, hexadecimal
    skipped: tuple[str, ...]  # a phrase for each file and folder that is not used
    split: Split | None  # if subfolders are splits
    notes: tuple[str, ...]  # sentences about the splits


class _Example(NamedTuple):
    """A file that may be an image; sorts by class, then by path."""

    label: int
    path: Path
    split: SplitName | None  # if folders are splits


class _File(NamedTuple):
    """A file, with the parts of its path relative to the folder that is examined."""

    path: Path
    parts: tuple[str, ...]

    def below(self) -> "_File":
        return _File(self.path, self.parts[1:])


@dataclass(frozen=True)
class _Properties:
    """Properties of a file; `problem` is empty if it can be used."""

    digest: bytes = b""
    pixels: bytes = b""
    color: bool = False
    side: int = 0
    problem: str = ""


def scan_folder(
    folder: Path, validation: Path | None = None, test: Path | None = None
) -> ImageFolder:
    """Examine every image of a folder; see the module docstring for the layout.

    The class folders for validation and testing may be elsewhere. Raises a DataError without such a
    folder, with fewer than two classes, or with a class whose images are all damaged.
    """
    skipped: list[str] = []
    names, examples = _read_layout(folder, validation, test, skipped)
    usable, problems = _examine_all(examples, skipped)
    kept = sorted({example.label for example, _ in usable if example.split in (None, "train")})
    if problems and not kept:
        path, problem = next(iter(problems.items()))
        raise DataError(
            f"{folder}: no image in the class folders can be read ({len(problems)} files tried): "
            f"{path}: {problem}"
        )
    for label in set(range(len(names))) - set(kept):
        skipped.append(f"{names[label]}: a folder without images")
        damaged = [
            f"{path}: {problems[path]}"
            for known, path, _ in examples
            if known == label and path in problems and _is_image_name(path)
        ]
        if damaged:
            raise DataError(
                f"no image of class {names[label]} can be read ({len(damaged)} tried; "
                f"{damaged[0]}): put images of the class into its folder, or remove it"
            )
    usable = [(example, file) for example, file in usable if example.label in kept]
    label_names = tuple(names[label] for label in kept)
    _require_two_classes(folder, label_names)
    labels = np.searchsorted(kept, [example.label for example, _ in usable]).astype(np.int64)
    side = int(np.median([file.side for _, file in usable]))
    split, notes = _split(usable, instead_of_test=validation is None)
    return ImageFolder(
        files=tuple(example.path for example, _ in usable),
        labels=labels,
        label_names=label_names,
        channels=3 if any(file.color for _, file in usable) else 1,
        size=min(max(side, _SMALLEST_SIZE), _DEFAULT_SIZE),
        pixels=tuple(file.pixels for _, file in usable),
        sha256=_hash(labels, [file for _, file in usable]),
        skipped=tuple(map(utf8_name, skipped)),
        split=split,
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class Corrections:
    """Images with labels of a data set, some of which may have none."""

    files: tuple[Path, ...]  # decodable, by label, then by path
    labels: NDArray[np.int64]  # [n], of each file
    sha256: str  # of the files and their labels, hexadecimal
    skipped: tuple[str, ...]  # a phrase for each file and folder that is not used


def scan_corrections(folder: Path, label_names: Sequence[str]) -> Corrections:
    """Examine the images of a folder that has a subfolder for each label, or for some of them."""
    skipped: list[str] = []
    files = [file for file in _walk(folder, skipped) if len(file.parts) > 1]
    places = {name: place for place, name in enumerate(label_names)}
    unknown = Counter(file.parts[0] for file in files if file.parts[0] not in places)
    skipped += [f"{folder / name}: not a label ({count} files)" for name, count in unknown.items()]
    examples = sorted(
        _Example(places[file.parts[0]], file.path, None)
        for file in files
        if file.parts[0] in places
    )
    usable, _ = _examine_all(examples, skipped)
    labels = np.array([example.label for example, _ in usable], np.int64)
    return Corrections(
        files=tuple(example.path for example, _ in usable),
        labels=labels,
        sha256=_hash(labels, [file for _, file in usable]),
        skipped=tuple(map(utf8_name, skipped)),
    )


def folder_input(size: int, channels: int) -> ImageInput:
    """Return a square model input, gray or color, that ignores the aspect ratio of images."""
    colors = Grey() if channels == 1 else Colour()
    return image_input((size, size, channels), colors, Scale(), Resize(height=size, width=size))


class FolderExamples:
    """The images of a folder as tensors, decoded by threads and cached if they fit."""

    def __init__(
        self, files: Sequence[Path], spec: ImageInput, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._files, self._spec = files, spec
        count = len(self._files)
        fits = count * int(np.prod(spec.shape)) * 4 <= cache_bytes
        self._cache = np.empty((count, *spec.shape), np.float32) if fits else None
        self._cached = np.zeros(count, dtype=np.bool_)

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Return preprocessed images, float32 [n, h, w, c]."""
        if self._cache is None:
            return self._decoded(places)
        new = np.unique(places[~self._cached[places]])
        if len(new):
            self._cache[new] = self._decoded(new)
            self._cached[new] = True
        return self._cache[places]

    def raw(self, place: int) -> bytes:
        """Return the bytes of a file."""
        try:
            return self._files[place].read_bytes()
        except OSError as error:
            raise DataError(f"{self._files[place]} cannot be read any more: {error}") from error

    def _decoded(self, places: Index) -> NDArray[np.float32]:
        tensors = _in_threads(self._tensor, places.tolist())
        shape = (len(places), *self._spec.shape)
        return np.stack(tensors) if tensors else np.empty(shape, np.float32)

    def _tensor(self, place: int) -> NDArray[np.float32]:
        data = self.raw(place)
        try:
            pixels = decode_image(data, str(self._files[place]))
        except InvalidInputError as error:
            raise DataError(f"changed since it was first read: {error}") from error
        return preprocess(pixels, self._spec.preprocessing)


def _read_layout(
    folder: Path, validation: Path | None, test: Path | None, skipped: list[str]
) -> tuple[list[str], list[_Example]]:
    """Find the names of the classes and their files, without opening any; add what is not used."""
    files = _walk(folder, skipped)
    if validation or test:  # splits in separate folders, identified by their paths
        splits: dict[str, SplitName] = {str(folder): "train"}
        every = [_File(file.path, (str(folder), *file.parts)) for file in files]
        for split, other in (("validation", validation), ("test", test)):
            if other is not None:
                found = _walk(other, skipped)
                every += [_File(file.path, (str(other), *file.parts)) for file in found]
                splits[str(other)] = _SPLITS[split]
        return _split_layout(Path(), every, splits, skipped)
    for inside in (files, _unwrapped(files)):
        if splits := _splits(inside):
            return _split_layout(folder, inside, splits, skipped)
    direct = sorted({file.parts[0] for file in files if len(file.parts) == 2})
    kinds = {_split_of(name) for name in direct}
    if "train" in kinds and len(kinds) > 1 and None not in kinds:
        raise DataError(
            f"{folder}: {' and '.join(direct)} hold images without class folders: {_SORT}"
        )
    names = sorted({file.parts[0] for file in files if len(file.parts) > 1})
    outside = [file for file in files if len(file.parts) == 1]
    _require_two_classes(folder, names, outside=len(outside))
    labels = {name: label for label, name in enumerate(names)}
    inside = [file for file in files if len(file.parts) > 1]
    skipped += _outside(outside)
    below = {(file.parts[0], file.parts[1]) for file in inside if len(file.parts) > 2}
    each = [sorted(inner for outer, inner in below if outer == name) for name in names]
    if len(each[0]) > 1 and all(inner == each[0] for inner in each):
        skipped.append(
            f"{folder}: the subfolders {', '.join(each[0])}, which each class has: if they are the "
            f"classes, or splits, they must be above {', '.join(names)}"
        )
    return names, sorted(_Example(labels[file.parts[0]], file.path, None) for file in inside)


def _require_two_classes(folder: Path, names: Sequence[str], outside: int = 0) -> None:
    """Reject a folder with a single class or none; `outside` counts the files directly in it."""
    if len(names) == 1:
        inner = folder / names[0]
        nested = inner.is_dir() and any(path.is_dir() for path in inner.iterdir())
        classes = f"if the folders in it are the classes, give --data folder:{inner}"
        raise DataError(
            f"{folder}: expected two or more class folders, got only {names[0]}: add a folder with "
            f"images of something else, such as 'other'; or {classes if nested else _SORT}"
        )
    if not names:
        got = f"none and {outside} files" if outside else "none"
        raise DataError(
            f"{folder}: expected two or more subfolders, each with the images of one class, got "
            f"{got}: {_SORT}"
        )


def _split_layout(
    folder: Path, files: list[_File], splits: dict[str, SplitName], skipped: list[str]
) -> tuple[list[str], list[_Example]]:
    """Return the classes, which are those of the training split, and the files of all splits."""
    others = {file.parts[0] for file in files if len(file.parts) > 1} - set(splits)
    skipped += [f"{folder / name}: no split with class folders" for name in others]
    skipped += _outside([file for file in files if len(file.parts) == 1])
    inside = {name: [f.below() for f in files if f.parts[0] == name] for name in splits}
    train = [name for name, split in splits.items() if split == "train"]
    inside |= {name: _unwrapped(inside[name]) for name in train}
    names = sorted({f.parts[0] for name in train for f in inside[name] if len(f.parts) > 1})
    _require_two_classes(folder / train[0], names)
    # An exact name is preferred to one that differs in case.
    exact = {name: label for label, name in enumerate(names)}
    labels = {name.casefold(): label for name, label in exact.items()}
    examples: list[_Example] = []
    for name, split in splits.items():
        own = _unwrapped(inside[name], known=labels)
        skipped += _outside([file for file in own if len(file.parts) == 1])
        unknown: Counter[str] = Counter()
        for file in own:
            if len(file.parts) == 1:
                continue
            label = exact.get(file.parts[0], labels.get(file.parts[0].casefold()))
            if label is None:
                unknown[file.parts[0]] += 1
            else:
                examples.append(_Example(label, file.path, split))
        skipped += [
            f"{folder / name / other}: a class that {train[0]} does not have ({count} files)"
            for other, count in unknown.items()
        ]
    return names, sorted(examples)


def _splits(files: list[_File]) -> dict[str, SplitName]:
    """Find the folders that are splits; none if the folders are classes.

    A class may be called "train", too. So a split must contain folders of images, and must be next
    to another split, which may have no class folders, or alone.
    """
    images = [file for file in files if _is_image_name(file.path)]
    found = {file.parts[0]: _split_of(file.parts[0]) for file in images if len(file.parts) > 2}
    splits = {name: split for name, split in sorted(found.items()) if split is not None}
    others = {file.parts[0] for file in images if len(file.parts) > 1} - set(found)
    kinds = set(splits.values())
    alone = splits == found and (not others or any(map(_split_of, others)))
    return splits if "train" in kinds and (len(kinds) > 1 or alone) else {}


def _split_of(name: str) -> SplitName | None:
    """Return the split that a name such as "Training", "test_set" or "train2" means."""
    words = [_SUFFIX.sub("", word) for word in re.split(r"[\W\d_]+", name.casefold())]
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _unwrapped(files: list[_File], known: Collection[str] = ()) -> list[_File]:
    """Descend into single folders, which archives often unpack to, and return the files there.

    Folders of known classes, in lower case, are not descended into.
    """
    while True:
        names = {file.parts[0] for file in files if len(file.parts) > 1}
        nested = any(len(file.parts) > 2 for file in files)
        if len(names) != 1 or not nested or names.pop().casefold() in known:
            return files
        files = [file.below() for file in files if len(file.parts) > 1]


def _walk(folder: Path, skipped: list[str]) -> list[_File]:
    """List the files except for hidden and system files; add what is left out."""
    files: list[_File] = []
    hidden: list[str] = []
    seen: set[str] = set()

    def fail(error: OSError) -> None:
        raise error

    try:
        for place, names, file_names in os.walk(folder, onerror=fail, followlinks=True):
            here = Path(place)
            seen.add(os.path.realpath(here))
            skipped += [f"{here / n}: a {why} folder" for n in names if (why := _unwanted(n))]
            # A link to a parent folder would lead to an endless loop.
            names[:] = sorted(
                n for n in names if not _unwanted(n) and os.path.realpath(here / n) not in seen
            )
            visible = sorted(name for name in file_names if not _unwanted(name))
            hidden += [name for name in file_names if _unwanted(name)]
            if here != folder and not names and not visible:
                skipped.append(f"{here}: an empty folder")
            above = tuple(map(_text, here.relative_to(folder).parts))
            files += [_File(here / name, (*above, _text(name))) for name in visible]
    except OSError as error:
        what = {
            FileNotFoundError: f"no such folder: {folder}",
            NotADirectoryError: f"{folder} is a file; give a table as csv:FILE, unpack an archive",
        }.get(type(error), f"{error.filename} cannot be read ({error.strerror})")
        raise DataError(
            f"{what}: name a folder with a subfolder of images for each class"
        ) from error
    if hidden:
        named = ", ".join(sorted(set(hidden))[:3])
        skipped.append(f"hidden or system files: {len(hidden)}, such as {named}")
    return files


def _unwanted(name: str) -> str:
    """Return why a name is left out; empty if it is not."""
    if name.casefold() in _SYSTEM_NAMES:
        return "system"
    return "hidden" if name.startswith(".") else ""


def _outside(files: list[_File]) -> list[str]:
    if not files:
        return []
    first = files[0].path
    return [f"{first.parent}: files outside class folders: {len(files)}, such as {first.name}"]


def _text(name: str) -> str:
    """Decode a name for JSON, with accents in a normal form."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _split(
    usable: list[tuple[_Example, _Properties]], *, instead_of_test: bool
) -> tuple[Split | None, list[str]]:
    """Return the split by folders, None for no such folders, and sentences about it.

    Without a test folder, a validation folder is used for testing, because reported metrics must
    not be on data that was used for selection.
    """
    train, validation, test = (
        np.array([place for place, (each, _) in enumerate(usable) if each.split == name], np.int64)
        for name in ("train", "validation", "test")
    )
    if not len(test) and not len(validation):
        return None, []
    notes = []
    if not len(test) and instead_of_test:
        validation, test = test, validation
        notes.append(
            "The validation folder is held out for the test, as there is no test folder; training "
            "is watched with images of the training folder."
        )
    return Split(train, validation, test), notes


def _examine_all(
    examples: list[_Example], skipped: list[str]
) -> tuple[list[tuple[_Example, _Properties]], dict[Path, str]]:
    """Return the files that are images, and the problems of others, which are added to skipped."""
    found = _in_threads(_examine, [example.path for example in examples])
    examined = list(zip(examples, found, strict=True))
    problems = {example.path: file.problem for example, file in examined if file.problem}
    others = [path for path in problems if not _is_image_name(path)]
    skipped += [f"{path}: {why}" for path, why in problems.items() if _is_image_name(path)]
    samples = {path.suffix.lower(): path for path in others}
    for suffix, count in Counter(path.suffix.lower() for path in others).items():
        what = f"{suffix or 'other'} files, which are not images"
        skipped.append(f"{what}: {count}, such as {samples[suffix]}")
    return [(example, file) for example, file in examined if not file.problem], problems


def _hash(labels: NDArray[np.int64], files: Sequence[_Properties]) -> str:
    digest = hashlib.sha256(b"".join(file.digest for file in files))
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _examine(path: Path) -> _Properties:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # Reading a named pipe would wait for a writer.
            return _Properties(problem="not a file")
        if status.st_size > _LARGEST_FILE:
            size = f"{status.st_size / 2**20:,.0f} MiB"
            return _Properties(problem=f"{size} are too large for an image")
        data = path.read_bytes()
        pixels = decode_image(data, "file")
    except OSError as error:
        return _Properties(problem=f"cannot be read ({error.strerror})")
    except InvalidInputError as error:
        return _Properties(problem=f"expected {error.expected}, got {error.got}")
    color = False
    if pixels.shape[2] > 1:
        red, green, blue = np.moveaxis(pixels, 2, 0)
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        color = bool(spread.max() > _COLOR_DIFFERENCE)
    digest, content = hashlib.sha256(data).digest(), hashlib.sha256(pixels.tobytes()).digest()
    return _Properties(digest, content, color, max(pixels.shape[:2]))


def _in_threads(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    """Map in threads, results in order; Pillow releases the GIL while it decodes."""
    with warnings.catch_warnings(), ThreadPoolExecutor(_WORKERS) as pool:
        ignore_warnings()
        return list(pool.map(function, items))
