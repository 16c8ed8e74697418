"""Weights as images: what each class of a logistic model looks for, and the first filters."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rockstar_training.report.section import Section
from rockstar_training.report.theme import SMALL, WIDTH, Theme, new_figure, plain

# More could not be told apart.
_MOST_CLASSES, _MOST_FILTERS = 30, 64
# Shares of a panel's side: between panels, and for a title.
_GAP, _TITLE = 0.1, 0.16
_COLOUR_NAMES = ("red", "green", "blue")


def logistic_section(weights: NDArray[np.float32], labels: tuple[str, ...]) -> Section:
    """One image for each class, and for each channel where there are several.

    Args:
        weights: float32 [h, w, c, classes].
        labels: of the classes.
    """
    channels = weights.shape[2]
    names = [""] if channels == 1 else list(_COLOUR_NAMES[:channels])
    classes = range(min(weights.shape[3], _MOST_CLASSES))
    panels = [
        (f"{plain(labels[k], 10)} {name}".strip(), weights[:, :, channel, k])
        for k in classes
        for channel, name in enumerate(names)
    ]
    left_out = weights.shape[3] - len(classes)
    return Section(
        key="logistic_weights",
        title="Weights of each class",
        text=(
            "A pixel that is light speaks for the class where the colour is orange, and against "
            "it where it is blue; where the paper shows it does not matter. One scale for all."
            + (
                f" The first {len(classes)} classes; {left_out} more have none here."
                if left_out
                else ""
            )
        ),
        alt=f"Weights of {len(classes)} classes as images of {weights.shape[0]} x "
        f"{weights.shape[1]} cells, from {weights.min():.2g} to {weights.max():.2g}.",
        draw=lambda theme: _draw(theme, panels, 5 if channels == 1 else channels),
    )


def filters_section(filters: NDArray[np.float32]) -> Section:
    """One image for each filter of the first convolution; of several channels, their mean.

    Args:
        filters: float32 [kh, kw, c, filters].
    """
    count = min(filters.shape[3], _MOST_FILTERS)
    means = filters.mean(axis=2)
    panels = [("", means[:, :, place]) for place in range(count)]
    return Section(
        key="first_filters",
        title="First-layer filters",
        text=(
            "What the first convolution looks for in each patch of the image: orange cells add, "
            "blue ones take away. Edges and strokes are signs of a net that has learned; noise is "
            "not."
            + (" Means over the colour channels." if filters.shape[2] > 1 else "")
            + (f" The first {count} of {filters.shape[3]}." if count < filters.shape[3] else "")
        ),
        alt=f"{count} filters of {filters.shape[0]} x {filters.shape[1]} cells, weights from "
        f"{means.min():.2g} to {means.max():.2g}.",
        draw=lambda theme: _draw(theme, panels, 8),
    )


def _draw(theme: Theme, panels: list[tuple[str, NDArray[np.float32]]], columns: int) -> Figure:
    """All panels in one image, which is drawn much sooner than axes for each would be."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    height, width = panels[0][1].shape
    gap = _GAP * max(height, width)
    above = gap + (_TITLE * max(height, width) if any(title for title, _ in panels) else 0)
    figure = new_figure(theme, WIDTH * rows * (height + above) / (columns * (width + gap)) + 0.7)
    axes = figure.add_subplot()
    norm = CenteredNorm(0, max(float(np.abs(image).max()) for _, image in panels) or 1.0)
    for place, (title, image) in enumerate(panels):
        left, top = place % columns * (width + gap), place // columns * (height + above)
        where = (left, left + width, top + height, top)
        axes.imshow(image, cmap=theme.diverging, norm=norm, interpolation="nearest", extent=where)
        axes.add_patch(
            Rectangle((left, top), width, height, fill=False, edgecolor=theme.grid, linewidth=0.8)
        )
        middle = left + width / 2
        axes.text(middle, top - gap / 2, title, fontsize=SMALL, color=theme.ink, ha="center")
    axes.set(
        xlim=(-gap / 2, columns * (width + gap) - gap / 2),
        ylim=(rows * (height + above) - above + gap / 2, gap / 2 - above),
        aspect="equal",
    )
    axes.set_axis_off()
    _draw_scale(figure, axes, theme, norm)
    return figure


def _draw_scale(figure: Figure, axes: Axes, theme: Theme, norm: CenteredNorm) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, theme.diverging),
        ax=axes,
        location="bottom",
        aspect=40,
        fraction=0.05,
        pad=0.02,
    )
    bar.set_label("weight", color=theme.ink, fontsize=SMALL)
    bar.ax.tick_params(colors=theme.muted, labelcolor=theme.ink, labelsize=SMALL)
    bar.outline.set_edgecolor(theme.grid)
