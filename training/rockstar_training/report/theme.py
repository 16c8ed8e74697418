"""The look of a report: sections and tables, and the colors of its figures.

Figures use matplotlib's objects and none of its global state. Colors are those of Okabe and Ito,
which people with color blindness can tell apart. Figures are narrow, so that their text is legible
on a phone.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

# Inches. Figures are shown about 600 pixels wide on large screens, full width on small ones.
WIDTH = 5.2
DOTS_PER_INCH = 150
# Points.
TEXT, SMALL = 9.5, 8.0
# Longer labels are shortened in figures; tables have them in full.
LABEL_LENGTH = 14


# Colors, of which GREEN and ORANGE go with BLUE for a third and a second series. The page inverts
# their lightness in dark mode and keeps their hues.
PAPER, INK, MUTED, GRID = "#ffffff", "#1b1f24", "#6b7280", "#e3e6ea"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"

# From the background at 0 to blue at 1.
SEQUENTIAL = LinearSegmentedColormap.from_list("sequential", [PAPER, BLUE])
# Like it, but visible at 0, too: for surfaces.
TERRAIN = LinearSegmentedColormap.from_list("terrain", list(SEQUENTIAL(np.linspace(0.2, 1, 9))))
# From blue through the background in the middle to orange.
DIVERGING = LinearSegmentedColormap.from_list("diverging", [BLUE, PAPER, ORANGE])

_TICKS = {"color": MUTED, "labelcolor": INK, "labelsize": SMALL}
# matplotlib's settings.
STYLE: dict[Any, Any] = {
    "figure.dpi": DOTS_PER_INCH,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "text.color": INK,
    "font.size": SMALL,
    "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "legend.edgecolor": "none",
    "legend.fontsize": SMALL,
    **{f"{axis}tick.{name}": value for axis in "xy" for name, value in _TICKS.items()},
}


@dataclass(frozen=True)
class Table:
    """A table of text, whose first column names the rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Tile:
    """One small image of a gallery."""

    image: bytes  # PNG or WebP file
    alt: str  # text alternative
    lines: tuple[str, ...]  # of the caption


@dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix."""

    count: int
    share: float  # of its row
    title: str  # the count in words
    tiles: tuple[Tile, ...]  # some of its examples


@dataclass(frozen=True)
class Section:
    """A section of a report."""

    key: str  # name of the PNG file and of the anchor in the page
    title: str
    text: str  # what the figure shows and how to read it
    alt: str = ""  # text alternative of the figure
    draw: Callable[[], Figure] | None = None  # None for no figure
    table: Table | None = None  # the numbers of the figure
    gallery: tuple[Tile, ...] = ()  # images that replace the figure in the page, and wrap better
    # Name and cells of each row of a confusion matrix with examples.
    matrix: tuple[tuple[str, tuple[Cell, ...]], ...] = ()


def new_plot(height: float, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Create a figure, height in inches, with one pair of axes."""
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.add_subplot(xlabel=xlabel, ylabel=ylabel)


def plain(text: str, length: int = LABEL_LENGTH) -> str:
    """Shorten a name and escape it, so that matplotlib does not read it as a formula."""
    text = " ".join(text.split())
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    return text.replace("\\", "＼").replace("$", r"\$")


def png(draw: Callable[[], Figure]) -> bytes:
    """Draw a figure and encode it as a PNG, reproducibly."""
    buffer = io.BytesIO()
    # With TensorFlow loaded, NumPy sometimes reports overflows in products of small numbers.
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE), quiet:
        # The font may lack the script of a name; the page and the tables show it anyway.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        # Unlike Figure.savefig, it draws once.
        FigureCanvasAgg(draw()).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def render(template: str, filters: dict[str, Any], **values: Any) -> str:
    """Fill in a template of this folder; only HTML is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment.get_template(template).render(**values)
