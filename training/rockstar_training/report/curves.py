"""Learning curves: loss, accuracy and learning rate against the epoch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from rockstar_training.report.data import EpochRecord
from rockstar_training.report.section import Section
from rockstar_training.report.theme import Theme, dress, legend, new_figure

_PANEL_HEIGHT = 2.1
# Title of a panel and the records' fields in it, the training one first.
_PANELS = (
    ("Loss", ("loss", "val_loss")),
    ("Accuracy", ("accuracy", "val_accuracy")),
    ("Learning rate", ("learning_rate",)),
)


def section(history: Sequence[EpochRecord], loss: str) -> Section | None:
    """The curves of a run; None where nothing was measured.

    Args:
        history: of the run.
        loss: what the loss is, with its unit.
    """
    panels = [
        (title, tuple(name for name in fields if np.isfinite(_values(history, name)).any()))
        for title, fields in _PANELS
    ]
    panels = [(title, fields) for title, fields in panels if fields]
    if not panels:
        return None
    return Section(
        key="learning_curves",
        title="Learning curves",
        text=(
            f"The loss is the {loss}. Training figures are means over the epoch, with augmentation "
            "and dropout where there are any; validation is measured at the end of the epoch, on "
            "examples that were not trained on. Curves that part tell of overfitting."
        ),
        alt=_alt(history),
        draw=lambda theme: _draw(theme, history, panels),
    )


def _values(history: Sequence[EpochRecord], name: str) -> NDArray[np.float64]:
    """Float64 [epochs], NaN where there is no value."""
    return np.array([getattr(record, name) for record in history], dtype=np.float64)


def _draw(
    theme: Theme, history: Sequence[EpochRecord], panels: list[tuple[str, tuple[str, ...]]]
) -> Figure:
    figure = new_figure(theme, _PANEL_HEIGHT * len(panels))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, fields) in zip(rows, panels, strict=True):
        _panel(axes, theme, history, title, fields)
    rows[-1].set_xlabel("epoch")
    dress(rows[-1], theme)
    return figure


def _panel(
    axes: Axes, theme: Theme, history: Sequence[EpochRecord], title: str, fields: tuple[str, ...]
) -> None:
    epochs = [record.epoch for record in history]
    for name in fields:
        validation = name.startswith("val_")
        axes.plot(
            epochs,
            _values(history, name),
            color=theme.second if validation else theme.first,
            linestyle="--" if validation else "-",
            linewidth=1.8,
            # A line through few points hides where they are.
            marker="o" if len(history) <= 12 else None,
            markersize=4,
            label="validation" if validation else "training",
        )
    axes.set_title(title, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if title == "Accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        axes.set_ylim(bottom=0)
    dress(axes, theme)
    axes.set_title(title, loc="left", color=theme.ink, fontweight="bold", fontsize=9.5)
    if title != "Learning rate":
        legend(axes, theme, loc="best")


def _alt(history: Sequence[EpochRecord]) -> str:
    last = history[-1]
    told = [
        f"{label} {value:.4g}"
        for label, value in (
            ("training loss", last.loss),
            ("validation loss", last.val_loss),
            ("training accuracy", last.accuracy),
            ("validation accuracy", last.val_accuracy),
        )
        if value is not None
    ]
    return f"Curves over {len(history)} epochs. At the end: {', '.join(told) or 'no figures'}."
