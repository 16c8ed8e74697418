"""The folders of a model's versions: served, held, and the number of the last one removed.

models/cnn/2         served
models/cnn/held-3    published but not served: the name is not a version to any server
"""

from pathlib import Path

# Prefix of the folder of a held version.
HELD_PREFIX = "held-"
_LAST_REMOVED = ".last-removed"


def served_versions(model: Path) -> dict[int, Path]:
    """The versions that servers find in a model's folder, ascending.

    Raises:
        OSError: it cannot be read.
    """
    found = {
        int(path.name): path
        for path in model.iterdir()
        if path.name.isascii() and path.name.isdigit() and path.is_dir()
    }
    return dict(sorted(found.items()))


def held_versions(model: Path) -> dict[int, Path]:
    """The held versions of a model: published but not served, such as `held-3`, ascending.

    No server loads them, including TensorFlow Serving, because their names are not numbers.

    Args:
        model: its folder.

    Raises:
        OSError: it cannot be read.
    """
    found = {}
    for path in model.iterdir():
        number = path.name.removeprefix(HELD_PREFIX)
        if number != path.name and number.isascii() and number.isdigit() and path.is_dir():
            found[int(number)] = path
    return dict(sorted(found.items()))


def last_removed(model: Path) -> int:
    """The highest version that was ever removed from a model's folder; 0 if none was.

    Its number must not be reused, because servers, clients and logs know another version by it.

    Raises:
        OSError: the record cannot be read.
    """
    try:
        return int((model / _LAST_REMOVED).read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0


def remember_removed(model: Path, version: int) -> None:
    """Record that a version was removed, so that its number is not reused.

    Raises:
        OSError: the record cannot be written.
    """
    if version > last_removed(model):
        new = model / f"{_LAST_REMOVED}.new"
        new.write_text(str(version), "ascii")
        new.replace(model / _LAST_REMOVED)
