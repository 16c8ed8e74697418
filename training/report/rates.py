"""The learning rate's four curves in one figure."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.report.theme import LIGHT, Theme, dress, legend, new_figure

if TYPE_CHECKING:
    from training.learning_rates import Curve, FourCurves

# Times the loss before training: what is above leaves the figure, which would else be all spikes.
_TOP = 2.0


def draw(curves: "FourCurves", title: str, theme: Theme = LIGHT) -> Figure:
    """Loss against epoch for each of the four rates.

    Args:
        curves: of one model.
        title: what was trained on what.
        theme: its colours.
    """
    figure = new_figure(theme, 4.4, width=6.4)
    axes = figure.add_subplot()
    told: tuple[tuple[str, Curve, str, str], ...] = (
        ("very high", curves.very_high, theme.second, "--"),
        ("high", curves.high, theme.third, "-."),
        ("good", curves.good, theme.first, "-"),
        ("low", curves.low, theme.muted, ":"),
    )
    for name, curve, colour, line in told:
        axes.plot(
            np.arange(len(curve.losses)),
            # Lines to infinity would not be drawn at all.
            np.minimum(curve.losses, 1e6),
            color=colour,
            linestyle=line,
            linewidth=2.2,
            label=f"{name}: {curve.rate:g}",
        )
    start = float(curves.good.losses[0])
    axes.axhline(start, color=theme.muted, linewidth=0.8)
    axes.text(
        len(curves.good.losses) - 1,
        start * 1.02,
        "loss before training",
        ha="right",
        va="bottom",
        fontsize=8,
        color=theme.muted,
    )
    axes.set(xlim=(0, len(curves.good.losses) - 1), ylim=(0, _TOP * start))
    axes.set(xlabel="epoch", ylabel="training loss (cross-entropy, nats)", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    dress(axes, theme)
    legend(axes, theme, title="learning rate", loc="upper right")
    return figure
