"""The learning rate's four curves in one figure."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from rockstar_training.report.theme import LIGHT, Theme, dress, legend, new_figure

if TYPE_CHECKING:
    from rockstar_training.learning_rates import Curve, FourCurves

# Above the loss before training the axis is logarithmic, and this high at most.
_TOP = 1e4
_TICKS = (0.0, 0.5, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1e3, 1e4)


def draw(curves: "FourCurves", title: str, theme: Theme = LIGHT) -> Figure:
    """Loss against epoch for each of the four rates.

    Args:
        curves: of one model.
        title: what was trained on what.
        theme: its colours.
    """
    figure = new_figure(theme, 4.8, width=6.4)
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
            # A line to infinity would not be drawn at all.
            np.minimum(curve.losses, _TOP),
            color=colour,
            linestyle=line,
            linewidth=2.2,
            label=f"{name}: {curve.rate:g}",
        )
    _scale(axes, curves, theme)
    axes.set(xlabel="epoch", ylabel="training loss (cross-entropy, nats)", title=title)
    dress(axes, theme)
    legend(
        axes,
        theme,
        title="learning rate (above the grey line, the loss before training, logarithmic axis)",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=4,
        columnspacing=1.2,
        handlelength=2.6,
    )
    return figure


def _scale(axes: Axes, curves: "FourCurves", theme: Theme) -> None:
    """Linear up to the loss before training, logarithmic above."""
    start = float(curves.good.losses[0])
    axes.axhline(start, color=theme.muted, linewidth=0.8)
    four = (curves.very_high, curves.high, curves.good, curves.low)
    top = min(max(float(curve.losses.max()) for curve in four) * 1.2, _TOP)
    axes.set_yscale("symlog", linthresh=start, linscale=2.5)
    axes.set(xlim=(0, len(curves.good.losses) - 1), ylim=(0, top))
    ticks = [tick for tick in _TICKS if tick <= top]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
