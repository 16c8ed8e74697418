"""Weights as images: what each class of a logistic model looks for, and the first filters."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.report.section import Section
from training.report.theme import SMALL, WIDTH, Theme, new_figure, plain

# More could not be told apart.
_MOST_CLASSES, _MOST_FILTERS = 30, 64
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
            "A bright pixel where the colour is orange speaks for the class, where it is blue "
            "against it; where it is the paper's it does not matter. One scale for all."
            + (
                f" The first {len(classes)} classes; {left_out} more have none here."
                if left_out
                else ""
            )
        ),
        alt=f"Weights of {len(classes)} classes as images of {weights.shape[0]} x "
        f"{weights.shape[1]} cells, from {weights.min():.2g} to {weights.max():.2g}.",
        draw=lambda theme: _draw(theme, panels, 5 if channels == 1 else channels, "weight"),
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
        draw=lambda theme: _draw(theme, panels, 8, "weight"),
    )


def _draw(
    theme: Theme, panels: list[tuple[str, NDArray[np.float32]]], columns: int, unit: str
) -> Figure:
    rows = -(-len(panels) // columns)
    titled = any(title for title, _ in panels)
    side = WIDTH / columns
    figure = new_figure(theme, rows * (side + (0.1 if titled else 0)) + 0.6)
    norm = CenteredNorm(0, max(float(np.abs(image).max()) for _, image in panels) or 1.0)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (title, image) in zip(grid.flat, panels, strict=False):
        axes.imshow(image, cmap=theme.diverging, norm=norm, interpolation="nearest")
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color(theme.grid)
        axes.set_title(title, fontsize=SMALL, color=theme.ink, pad=3)
    bar = figure.colorbar(
        ScalarMappable(norm, theme.diverging),
        ax=list(grid.flat),
        location="bottom",
        aspect=40,
        fraction=0.05,
        pad=0.02,
    )
    bar.set_label(unit, color=theme.ink, fontsize=SMALL)
    bar.ax.tick_params(colors=theme.muted, labelcolor=theme.ink, labelsize=SMALL)
    bar.outline.set_edgecolor(theme.grid)
    return figure
