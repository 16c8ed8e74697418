"""Folders of images, decoded when they are needed."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.contract import ImageInput
from serving.errors import InvalidInputError
from serving.images import decode_image, ignore_warnings
from serving.limits import IMAGE_SUFFIXES
from serving.preprocessing import preprocess
from training.datasets import Split
from training.errors import DataError
from training.folder_layout import Example, read_layout, require_two_classes
from training.parts import Index

# Tensors of up to this many bytes are kept, so that a small folder is decoded once.
CACHE_BYTES = 512 * 2**20
DEFAULT_SIZE = 64
_SMALLEST_SIZE = 8
# Archives and videos lie beside images; they are not read.
_LARGEST_FILE = 256 * 2**20
# Channels that differ by more than this are colour, not the noise of a compressed grey image.
_COLOUR_DIFFERENCE = 12
_WORKERS = min(8, os.cpu_count() or 1)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """The images that a folder holds.

    Attributes:
        files: that can be decoded, by class, then by path.
        labels: int64 [n], the class of each file.
        label_names: the names of the class folders that hold images, sorted.
        channels: 1 where all images are grey, else 3.
        size: a side that suits most of the images, at most DEFAULT_SIZE.
        sha256: over the files and their labels, hexadecimal.
        skipped: a phrase for each file and folder that is not used.
        split: where subfolders are splits: which files are trained on and held out.
        notes: sentences about the splits.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    channels: int
    size: int
    sha256: str
    skipped: tuple[str, ...]
    split: Split | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """What is known of a file after a first look; `problem` is empty where it can be used."""

    digest: bytes = b""
    colour: bool = False
    side: int = 0
    problem: str = ""


def scan_folder(
    folder: Path, validation: Path | None = None, test: Path | None = None
) -> ImageFolder:
    """Look at every image of a folder once; see training.folder_layout for how it may be arranged.

    Args:
        folder: of class folders, or of splits.
        validation: class folders to validate with, if they are elsewhere.
        test: class folders to test with, likewise.

    Raises:
        DataError: no such folder, fewer than two classes, or a class whose images are all damaged.
    """
    layout = read_layout(folder, validation, test)
    examples, names = layout.examples, layout.label_names
    seen = _in_threads(_look, [example.path for example in examples])
    looks = list(zip(examples, seen, strict=True))
    skipped = [*layout.skipped, *_unusable(looks)]
    usable = [(example, look) for example, look in looks if not look.problem]
    kept = sorted({example.label for example, _ in usable if example.split in (None, "train")})
    for label in set(range(len(names))) - set(kept):
        skipped.append(f"{names[label]}: a folder without images")
        _require_no_damaged_image(names[label], [each for each in looks if each[0].label == label])
    usable = [(example, look) for example, look in usable if example.label in kept]
    label_names = tuple(names[label] for label in kept)
    require_two_classes(folder, label_names)
    labels = np.searchsorted(kept, [example.label for example, _ in usable]).astype(np.int64)
    digest = hashlib.sha256(b"".join(look.digest for _, look in usable))
    digest.update(labels.astype("<i8").tobytes())
    side = int(np.median([look.side for _, look in usable]))
    split, notes = _split(usable, instead_of_test=validation is None)
    return ImageFolder(
        files=tuple(example.path for example, _ in usable),
        labels=labels,
        label_names=label_names,
        channels=3 if any(look.colour for _, look in usable) else 1,
        size=min(max(side, _SMALLEST_SIZE), DEFAULT_SIZE),
        sha256=digest.hexdigest(),
        skipped=tuple(skipped),
        split=split,
        notes=notes,
    )


class FolderExamples:
    """The images of a folder as tensors, decoded by threads; small folders only once."""

    def __init__(
        self, folder: ImageFolder, spec: ImageInput, cache_bytes: int = CACHE_BYTES
    ) -> None:
        """Decode nothing yet.

        Args:
            folder: the files.
            spec: what the model takes.
            cache_bytes: how much memory tensors may take all together to be kept.
        """
        self._files, self._spec = folder.files, spec
        count = len(self._files)
        fits = count * int(np.prod(spec.shape)) * 4 <= cache_bytes
        self._cache = np.empty((count, *spec.shape), np.float32) if fits else None
        self._cached = np.zeros(count, dtype=np.bool_)

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Preprocessed, float32 [n, h, w, c].

        Raises:
            DataError: a file that could be read before cannot any more.
        """
        if self._cache is None:
            return self._decoded(places)
        new = np.unique(places[~self._cached[places]])
        if len(new):
            self._cache[new] = self._decoded(new)
            self._cached[new] = True
        return self._cache[places]

    def raw(self, place: int) -> bytes:
        """The file.

        Raises:
            DataError: it cannot be read any more.
        """
        try:
            return self._files[place].read_bytes()
        except OSError as error:
            raise DataError(f"{self._files[place]} cannot be read any more: {error}") from error

    def source(self, place: int) -> str:
        """The path of the file."""
        return str(self._files[place])

    def _decoded(self, places: Index) -> NDArray[np.float32]:
        tensors = _in_threads(self._tensor, [int(place) for place in places])
        shape = (len(places), *self._spec.shape)
        return np.stack(tensors) if tensors else np.empty(shape, np.float32)

    def _tensor(self, place: int) -> NDArray[np.float32]:
        data = self.raw(place)
        try:
            pixels = decode_image(data, str(self._files[place]))
        except InvalidInputError as error:
            raise DataError(f"changed since it was first read: {error}") from error
        return preprocess(pixels, self._spec.preprocessing)


def _unusable(looks: list[tuple[Example, _Seen]]) -> list[str]:
    """A phrase for each image that cannot be used, and one for each other kind of file."""
    problems = [(example.path, look.problem) for example, look in looks if look.problem]
    others = Counter(path.suffix.lower() for path, _ in problems if not _is_image_name(path))
    examples = {path.suffix.lower(): path for path, _ in problems}
    return [
        *(f"{path}: {problem}" for path, problem in problems if _is_image_name(path)),
        *(
            f"{suffix or 'other'} files, which are not images: {count}, such as {examples[suffix]}"
            for suffix, count in others.items()
        ),
    ]


def _require_no_damaged_image(name: str, looks: list[tuple[Example, _Seen]]) -> None:
    damaged = [(e.path, look) for e, look in looks if look.problem and _is_image_name(e.path)]
    if damaged:
        path, look = damaged[0]
        raise DataError(
            f"no image of class {name} can be read ({len(damaged)} tried; {path}: {look.problem}): "
            "put images of the class into its folder, or remove it"
        )


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _split(
    usable: list[tuple[Example, _Seen]], *, instead_of_test: bool
) -> tuple[Split | None, tuple[str, ...]]:
    """Which images the folders hold out, and sentences about that; None leaves it to chance.

    Without a test folder a validation folder beside the training folder is it: what is reported
    must not have been chosen by.
    """
    train, validation, test = (
        np.array([place for place, (each, _) in enumerate(usable) if each.split == name], np.int64)
        for name in ("train", "validation", "test")
    )
    if not len(test) and not len(validation):
        return None, ()
    notes = []
    if not len(test) and instead_of_test:
        validation, test = test, validation
        notes.append(
            "The validation folder is held out for the test, as there is no test folder; training "
            "is watched with images of the training folder."
        )
    known = {usable[place][1].digest for place in train}
    both = sum(usable[place][1].digest in known for place in test)
    if both:
        notes.append(f"{both} of {len(test)} test images are training images too.")
    return Split(train, test, validation if len(validation) else None), tuple(notes)


def _look(path: Path) -> _Seen:
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            return _Seen(problem=f"{size / 2**20:,.0f} MiB are too large for an image")
        data = path.read_bytes()
        pixels = decode_image(data, "file")
    except OSError as error:
        return _Seen(problem=f"cannot be read ({error.strerror})")
    except InvalidInputError as error:
        return _Seen(problem=f"expected {error.expected}, got {error.got}")
    return _Seen(hashlib.sha256(data).digest(), _is_colour(pixels), max(pixels.shape[:2]))


def _is_colour(pixels: NDArray[np.uint8]) -> bool:
    if pixels.shape[2] == 1:
        return False
    red, green, blue = (pixels[:, :, channel] for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return bool(spread.max() > _COLOUR_DIFFERENCE)


def _in_threads(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    """The results in order; Pillow decodes outside Python's lock."""
    with warnings.catch_warnings(), ThreadPoolExecutor(_WORKERS) as pool:
        ignore_warnings()
        return list(pool.map(function, items))
