"""The look of a report: sections and tables, and the two color themes of its figures.

Figures use matplotlib's objects and none of its global state. Colors are those of Okabe and Ito,
which people with color blindness can tell apart; the dark theme has lighter ones. Figures are
narrow, so that their text is legible on a phone.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

# Inches. Figures are shown about 600 pixels wide on large screens, full width on small ones.
WIDTH = 5.2
DOTS_PER_INCH = 150
# Points.
TEXT, SMALL = 9.5, 8.0
# Longer labels are shortened in figures; tables have them in full.
LABEL_LENGTH = 14


@dataclass(frozen=True)
class Theme:
    """Colors of a figure."""

    name: str  # "light" or "dark"
    paper: str  # background
    ink: str  # text
    muted: str  # axes and secondary elements
    grid: str  # grid lines
    first: str  # of the main series
    second: str  # of the series it is compared with
    third: str  # of a third series

    @cached_property
    def sequential(self) -> Colormap:
        """From the background at 0 to the main color at 1."""
        return LinearSegmentedColormap.from_list(f"{self.name}-0", [self.paper, self.first])

    @cached_property
    def terrain(self) -> Colormap:
        """Like `sequential`, but visible at 0, too: for surfaces."""
        colors = self.sequential(np.linspace(0.2, 1, 9))
        return LinearSegmentedColormap.from_list(f"{self.name}-2", list(colors))

    @cached_property
    def diverging(self) -> Colormap:
        """From the main color through the background in the middle to the second color."""
        colors = [self.first, self.paper, self.second]
        return LinearSegmentedColormap.from_list(f"{self.name}-1", colors)


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#6b7280", "#e3e6ea", "#0072b2", "#d55e00", "#009e73")
DARK = Theme("dark", "#15181d", "#e8eaed", "#9aa3af", "#2d333b", "#56b4e9", "#e69f00", "#2fc79a")


@dataclass(frozen=True)
class Table:
    """A table of text, whose first column names the rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Tile:
    """One small image of a gallery."""

    png: bytes
    alt: str  # text alternative
    lines: tuple[str, ...]  # of the caption


@dataclass(frozen=True)
class Section:
    """A section of a report."""

    key: str  # name of the PNG file and of the anchor in the page
    title: str
    text: str  # what the figure shows and how to read it
    alt: str = ""  # text alternative of the figure
    draw: Callable[[Theme], Figure] | None = None  # None for no figure
    table: Table | None = None  # the numbers of the figure
    gallery: tuple[Tile, ...] = ()  # images that replace the figure in the page, and wrap better


def new_figure(theme: Theme, height: float, width: float = WIDTH) -> Figure:
    """Create an empty figure, size in inches, with a constrained layout."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def new_plot(
    theme: Theme, height: float, xlabel: str, ylabel: str, *, grid: bool = True
) -> tuple[Figure, Axes]:
    """Create a figure with one pair of axes."""
    figure = new_figure(theme, height)
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    dress(axes, theme, grid=grid)
    return figure, axes


def dress(axes: Axes, theme: Theme, *, grid: bool = True) -> None:
    """Apply the theme's colors and sizes; call it after setting titles."""
    axes.set_facecolor(theme.paper)
    for side, spine in axes.spines.items():
        spine.set_color(theme.muted)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=theme.muted, labelcolor=theme.ink, labelsize=SMALL)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set(color=theme.ink, fontsize=TEXT)
    axes.title.set(color=theme.ink, fontsize=TEXT, fontweight="bold")
    if grid:
        axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def legend(axes: Axes, theme: Theme, **where: Any) -> None:
    """Add a legend without a frame."""
    drawn = axes.legend(
        fontsize=SMALL, labelcolor=theme.ink, facecolor=theme.paper, edgecolor="none", **where
    )
    drawn.get_title().set(color=theme.ink, fontsize=SMALL)


def plain(text: str, length: int = LABEL_LENGTH) -> str:
    """Shorten a name and escape it, so that matplotlib does not read it as a formula."""
    text = " ".join(text.split())
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    return text.replace("\\", "＼").replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """Encode a figure as a PNG, reproducibly."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The font may lack the script of a name; the page and the tables show it anyway.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
