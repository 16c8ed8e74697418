"""Sections of any model: learning curves, importance of columns, weights as images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from rockstar_training.evaluation import ColumnImportance
from rockstar_training.progress import Epoch
from rockstar_training.report.theme import (
    SMALL,
    TEXT,
    WIDTH,
    Section,
    Table,
    Theme,
    dress,
    legend,
    new_figure,
    plain,
)

_PANEL_HEIGHT = 2.1
# The panels of the learning curves: title and fields of Epoch, the training metric first.
_PANELS = (
    ("Loss", ("loss", "val_loss")),
    ("Accuracy", ("accuracy", "val_accuracy")),
    ("Learning rate", ("learning_rate",)),
)
# Columns, classes and filters that are drawn at most.
_MAX_COLUMNS, _MAX_CLASSES, _MAX_FILTERS = 20, 30, 64
# Space between the images of weights and for their titles, as shares of an image's side.
_GAP, _TITLE = 0.1, 0.16
_CHANNELS = ("red", "green", "blue")


def curves_section(history: Sequence[Epoch], loss: str) -> Section | None:
    """Plot loss, accuracy and learning rate against the epoch; None without epochs.

    Args:
        history: all epochs.
        loss: the loss function and its unit.
    """
    if not history:
        return None
    # float64 [epochs], NaN for None.
    values = {
        name: np.array([getattr(epoch, name) for epoch in history], np.float64)
        for _, fields in _PANELS
        for name in fields
    }
    panels = [
        (title, names)
        for title, fields in _PANELS
        if (names := [name for name in fields if np.isfinite(values[name]).any()])
    ]
    if not panels:
        return None
    last = history[-1]
    final = [
        f"{label} {value:.4g}"
        for label, value in (
            ("training loss", last.loss),
            ("validation loss", last.val_loss),
            ("training accuracy", last.accuracy),
            ("validation accuracy", last.val_accuracy),
        )
        if value is not None
    ]

    def draw(theme: Theme) -> Figure:
        figure = new_figure(theme, _PANEL_HEIGHT * len(panels))
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, names) in zip(rows, panels, strict=True):
            for name in names:
                validation = name.startswith("val_")
                axes.plot(
                    [epoch.number for epoch in history],
                    values[name],
                    color=theme.second if validation else theme.first,
                    linestyle="--" if validation else "-",
                    linewidth=1.8,
                    # A line through few points hides where they are.
                    marker="o" if len(history) <= 12 else None,
                    markersize=4,
                    label="validation" if validation else "training",
                )
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if title == "Accuracy":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            else:
                axes.set_ylim(bottom=0)
            dress(axes, theme)
            axes.set_title(title, loc="left", color=theme.ink, fontweight="bold", fontsize=TEXT)
            if title != "Learning rate":
                legend(axes, theme, loc="best")
        rows[-1].set_xlabel("epoch")
        dress(rows[-1], theme)
        return figure

    return Section(
        key="learning_curves",
        title="Learning curves",
        text=(
            f"The loss is the {loss}. Training values are means over the epoch, with augmentation "
            "and dropout if used; validation is measured at the end of the epoch, on examples "
            "that were not trained on. Curves that diverge indicate overfitting."
        ),
        alt=f"Curves over {len(history)} epochs. At the end: {', '.join(final) or 'no figures'}.",
        draw=draw,
    )


def importance_section(columns: Sequence[ColumnImportance], metric: str) -> Section | None:
    """Plot the importance of a table's columns, largest first; None if it was not measured."""
    if not columns:
        return None
    drawn = columns[:_MAX_COLUMNS]

    def draw(theme: Theme) -> Figure:
        figure = new_figure(theme, 0.9 + 0.28 * len(drawn))
        axes = figure.add_subplot()
        places = range(len(drawn))
        axes.barh(
            places,
            [column.mean for column in drawn],
            xerr=[column.std for column in drawn],
            color=theme.first,
            ecolor=theme.muted,
            height=0.65,
        )
        axes.axvline(0, color=theme.muted, linewidth=1)
        axes.set_yticks(places, [plain(column.name, 28) for column in drawn])
        axes.invert_yaxis()
        axes.set_xlabel(f"drop in {metric}")
        dress(axes, theme)
        return figure

    more = f" The {_MAX_COLUMNS} most important ones are drawn." if drawn != columns else ""
    return Section(
        key="importance",
        title="Importance of the columns",
        text=(
            f"The drop in {metric} on held-out rows when the values of one column are shuffled: "
            "mean and standard deviation of several shuffles. Columns with the same information "
            f"share their importance, so each of them may seem unimportant.{more}"
        ),
        alt=f"Bars of {len(drawn)} columns; the longest is {drawn[0].name}, {drawn[0].mean:.3f}.",
        draw=draw,
        table=Table(
            ("Column", "Mean", "Standard deviation"),
            tuple((c.name, f"{c.mean:.4f}", f"{c.std:.4f}") for c in columns),
        ),
    )


def logistic_section(weights: NDArray[np.float32], labels: tuple[str, ...]) -> Section:
    """Show the weights of each class as an image, one for each color channel.

    Args:
        weights: float32 [h, w, c, classes].
        labels: of the classes.
    """
    channels = weights.shape[2]
    names = [""] if channels == 1 else list(_CHANNELS[:channels])
    classes = range(min(weights.shape[3], _MAX_CLASSES))
    panels = [
        (f"{plain(labels[k], 10)} {name}".strip(), weights[:, :, channel, k])
        for k in classes
        for channel, name in enumerate(names)
    ]
    left_out = weights.shape[3] - len(classes)
    more = f" The first {len(classes)} classes; {left_out} more are not shown." if left_out else ""
    return Section(
        key="logistic_weights",
        title="Weights of each class",
        text=(
            "A light pixel is evidence for the class where the color is orange, and against it "
            "where it is blue; where the background shows, the pixel does not matter. All images "
            f"have the same scale.{more}"
        ),
        alt=f"Weights of {len(classes)} classes as images of {weights.shape[0]} x "
        f"{weights.shape[1]} cells, from {weights.min():.2g} to {weights.max():.2g}.",
        draw=lambda theme: _draw_weights(theme, panels, 5 if channels == 1 else channels),
    )


def filters_section(filters: NDArray[np.float32]) -> Section:
    """Show each filter of the first convolution as an image, averaged over the channels.

    Args:
        filters: float32 [kh, kw, c, filters].
    """
    count = min(filters.shape[3], _MAX_FILTERS)
    means = filters.mean(axis=2)
    panels = [("", means[:, :, place]) for place in range(count)]
    return Section(
        key="first_filters",
        title="First-layer filters",
        text=(
            "The patterns that the first convolution responds to in each patch of the image: "
            "orange cells add, blue ones subtract. Edges and strokes indicate that the network has "
            "learned; noise that it has not."
            + (" Means over the color channels." if filters.shape[2] > 1 else "")
            + (f" The first {count} of {filters.shape[3]}." if count < filters.shape[3] else "")
        ),
        alt=f"{count} filters of {filters.shape[0]} x {filters.shape[1]} cells, weights from "
        f"{means.min():.2g} to {means.max():.2g}.",
        draw=lambda theme: _draw_weights(theme, panels, 8),
    )


def _draw_weights(
    theme: Theme, panels: list[tuple[str, NDArray[np.float32]]], columns: int
) -> Figure:
    """Draw all panels into the same axes, which is much faster than axes for each."""
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
    return figure
