"""How figures look: two themes, drawn with matplotlib's objects and none of its global state.

Colours are Okabe and Ito's, which people tell apart who see fewer of them; on dark paper their
lighter ones. Figures are narrow, so that their text stays legible on a telephone.
"""

import io
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

# Inches. Shown about 600 pixels wide on a large screen, and as wide as a small one is.
WIDTH = 5.2
DOTS_PER_INCH = 150
# Points.
TEXT, SMALL = 9.5, 8.0
# Labels longer than this are shortened in figures; tables have them in full.
LABEL_LENGTH = 14


@dataclass(frozen=True)
class Theme:
    """Colours of a figure.

    Attributes:
        name: "light" or "dark".
        paper: behind everything.
        ink: text.
        muted: axes and what is in the background.
        grid: lines behind the data.
        first: of the main series.
        second: of the one it is compared with.
        third: of one more.
    """

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str
    third: str

    @cached_property
    def sequential(self) -> Colormap:
        """From paper at 0 to the main colour at 1."""
        return LinearSegmentedColormap.from_list(f"{self.name}-0", [self.paper, self.first])

    @cached_property
    def terrain(self) -> Colormap:
        """As `sequential`, but never quite the paper: for what has a shape of its own."""
        colours = self.sequential(np.linspace(0.2, 1, 9))
        return LinearSegmentedColormap.from_list(f"{self.name}-2", list(colours))

    @cached_property
    def diverging(self) -> Colormap:
        """From the main colour through paper at the middle to the second one."""
        colours = [self.first, self.paper, self.second]
        return LinearSegmentedColormap.from_list(f"{self.name}-1", colours)


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#6b7280", "#e3e6ea", "#0072b2", "#d55e00", "#009e73")
DARK = Theme("dark", "#15181d", "#e8eaed", "#9aa3af", "#2d333b", "#56b4e9", "#e69f00", "#2fc79a")


def new_figure(theme: Theme, height: float, width: float = WIDTH) -> Figure:
    """An empty figure, inches; its parts make room for each other."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, theme: Theme, *, grid: bool = True) -> None:
    """Give axes the theme's colours and sizes; call it after titles and labels are set."""
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
    """A legend on paper, without a frame."""
    drawn = axes.legend(
        fontsize=SMALL, labelcolor=theme.ink, facecolor=theme.paper, edgecolor="none", **where
    )
    drawn.get_title().set(color=theme.ink, fontsize=SMALL)


def plain(text: str, length: int = LABEL_LENGTH) -> str:
    """A name from outside, shortened, as matplotlib shows it unchanged: no formula, no line end."""
    text = " ".join(text.split())
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    return text.replace("\\", "＼").replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as a PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Names may be in a script that the font lacks; the page and the tables still have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
