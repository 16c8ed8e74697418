"""The parts of a report: what each subject hands to the page."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from rockstar_training.report.theme import Theme


@dataclass(frozen=True)
class Table:
    """A table of text: the first column names the row, the others are figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Tile:
    """One small image of a gallery.

    Attributes:
        png: the image.
        alt: what it shows, for who cannot see it.
        lines: its caption.
    """

    png: bytes
    alt: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One subject of a report.

    Attributes:
        key: names the PNG and the place in the page.
        title: heading.
        text: what is seen and how to read it.
        alt: the figure in words, for who cannot see it.
        draw: makes the figure in a theme; None where there is nothing to draw.
        table: the figure's numbers.
        gallery: stands in the page instead of the figure, where it wraps better.
    """

    key: str
    title: str
    text: str
    alt: str = ""
    draw: Callable[[Theme], Figure] | None = None
    table: Table | None = None
    gallery: tuple[Tile, ...] = ()
