"""Data sets by their text on the command line: a name, `folder:DIR` or `csv:FILE`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.errors import ConfigError

IMAGE_SETS = ("digits", "mnist", "fashion_mnist")
SYNTAX = f"{', '.join(IMAGE_SETS)}, folder:DIR or csv:FILE"


@dataclass(frozen=True)
class DataSpec:
    """A data set that was asked for.

    Attributes:
        kind: a known set of images, a folder of class folders, or a table.
        name: as contracts and reports call it: without the folders above.
        path: of the folder or file; None for a known set.
    """

    kind: Literal["images", "folder", "csv"]
    name: str
    path: Path | None = None

    @property
    def location(self) -> Path:
        """The path of a folder or file."""
        if self.path is None:
            raise ValueError(f"{self.name} has no path")
        return self.path


def parse_data(text: str) -> DataSpec:
    """Read the text that names a data set; looks at no file.

    Raises:
        ConfigError: not one of SYNTAX.
    """
    if text in IMAGE_SETS:
        return DataSpec("images", text)
    kind, colon, place = text.partition(":")
    if not colon or kind not in ("folder", "csv") or not place.strip():
        raise ConfigError(f"data: expected {SYNTAX}, got {text!r}")
    path = Path(place).expanduser()
    name = f"{kind}:{path.resolve().name}"
    return DataSpec("folder" if kind == "folder" else "csv", name, path)
