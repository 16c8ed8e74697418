"""Folders of class folders of images, decoded when they are needed."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.contract import ImageInput
from serving.errors import InvalidInputError
from serving.images import decode_image, ignore_warnings
from serving.preprocessing import preprocess
from training.errors import DataError
from training.parts import Index

# More than the gateway takes by default: who trains knows their files.
MAX_PIXELS = 128 * 2**20
# Tensors of up to this many bytes are kept, so that a small folder is decoded once.
CACHE_BYTES = 512 * 2**20
DEFAULT_SIZE = 64
_SMALLEST_SIZE = 8
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
        label_names: the names of the class folders, sorted.
        channels: 1 where all images are grey, else 3.
        size: a side that suits most of the images, at most DEFAULT_SIZE.
        sha256: over the files and their labels, hexadecimal.
        skipped: a sentence for each file that cannot be used.
    """

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    channels: int
    size: int
    sha256: str
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Seen:
    """What is known of a file after a first look; `problem` is empty where it can be used."""

    digest: bytes = b""
    colour: bool = False
    side: int = 0
    problem: str = ""


def scan_folder(folder: Path) -> ImageFolder:
    """Look at every image of a folder once: each subfolder is a class and has its name.

    Hidden files and folders are left out; files below the class folders count too.

    Raises:
        DataError: no such folder, fewer than two classes, or a class without a usable image.
    """
    names, paths, labels = _list(folder)
    seen = _in_threads(_look, paths)
    skipped = tuple(
        f"{path}: {look.problem}" for path, look in zip(paths, seen, strict=True) if look.problem
    )
    usable = [place for place, look in enumerate(seen) if not look.problem]
    kept = np.array([labels[place] for place in usable], dtype=np.int64)
    for label, name in enumerate(names):
        if label not in kept:
            damaged = labels.count(label)
            why = (
                f" ({damaged} cannot be read, first {_first(skipped, folder / name)})"
                if damaged
                else ""
            )
            raise DataError(
                f"{folder / name} holds no image{why}: put images of the class into it or remove it"
            )
    digest = hashlib.sha256(b"".join(seen[place].digest for place in usable))
    digest.update(kept.astype("<i8").tobytes())
    side = int(np.median([seen[place].side for place in usable]))
    return ImageFolder(
        files=tuple(paths[place] for place in usable),
        labels=kept,
        label_names=tuple(names),
        channels=3 if any(seen[place].colour for place in usable) else 1,
        size=min(max(side, _SMALLEST_SIZE), DEFAULT_SIZE),
        sha256=digest.hexdigest(),
        skipped=skipped,
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
            pixels = decode_image(data, str(self._files[place]), MAX_PIXELS)
        except InvalidInputError as error:
            raise DataError(f"changed since it was first read: {error}") from error
        return preprocess(pixels, self._spec.preprocessing)


def _list(folder: Path) -> tuple[list[str], list[Path], list[int]]:
    """The names of the classes, and the paths of all files with the place of their class."""
    try:
        classes = sorted(path.name for path in folder.iterdir() if _is_class(path))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}): name a folder with a subfolder of images "
            "for each class"
        ) from error
    if len(classes) < 2:
        got = f"only {classes[0]}" if classes else "none"
        raise DataError(
            f"{folder}: expected two or more subfolders, each with the images of one class, "
            f"got {got}"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(path for path in (folder / name).rglob("*") if _is_file(path, folder))
        paths += found
        labels += [label] * len(found)
    return classes, paths, labels


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _is_file(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.is_file()


def _look(path: Path) -> _Seen:
    try:
        data = path.read_bytes()
        pixels = decode_image(data, "file", MAX_PIXELS)
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


def _first(skipped: Iterable[str], folder: Path) -> str:
    return next(problem for problem in skipped if problem.startswith(f"{folder}{os.sep}"))


def _in_threads(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    """The results in order; Pillow decodes outside Python's lock."""
    with warnings.catch_warnings(), ThreadPoolExecutor(_WORKERS) as pool:
        ignore_warnings()
        return list(pool.map(function, items))
