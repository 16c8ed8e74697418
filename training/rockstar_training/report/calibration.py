"""Calibration: whether a probability of 0.9 is right nine times out of ten."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rockstar_training.report.data import Classified
from rockstar_training.report.section import Section, Table
from rockstar_training.report.theme import Theme, dress, legend, new_figure

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predictions in equal bins of the probability of their likeliest class.

    Attributes:
        count: int64 [bins].
        confidence: float64 [bins], mean probability; NaN in empty bins.
        accuracy: float64 [bins], share that is right; NaN in empty bins.
        error: the expected calibration error, a share.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


def calibrate(outcome: Classified, bins: int = BINS) -> Calibration:
    """Compare how sure the model is with how often it is right.

    The expected calibration error is the sum over the bins B_m of |B_m|/n · |acc(B_m) - conf(B_m)|,
    B_m holding the predictions with a confidence in ((m - 1)/M, m/M]: equations 2, 3 and 5 of
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks",
    ICML 2017 (arXiv 1706.04599), after M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining
    well calibrated probabilities using Bayesian binning", AAAI 2015.

    Args:
        outcome: of the held-out examples, one or more.
        bins: M, how many.
    """
    confidence = outcome.probabilities.max(axis=1).astype(np.float64)
    right = (outcome.predicted == outcome.truth).astype(np.float64)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_of, confidence, minlength=bins) / count
        accuracy = np.bincount(bin_of, right, minlength=bins) / count
    error = float(np.nansum(count * np.abs(accuracy - mean)) / count.sum())
    return Calibration(count, mean, accuracy, error)


def section(outcome: Classified) -> Section:
    """The reliability diagram, with how many predictions stand behind each bar."""
    found = calibrate(outcome)
    return Section(
        key="calibration",
        title="Calibration",
        text=(
            "Predictions in bins of the probability that the model gives its answer. Bars under "
            "the diagonal: it is surer than it should be; over it: less sure. Bars with few "
            f"examples say little. Expected calibration error: {100 * found.error:.2f} percentage "
            f"points, over {len(found.count)} bins."
        ),
        alt=(
            f"Reliability diagram of {found.count.sum()} predictions, expected calibration error "
            f"{found.error:.4f}; {found.count[-1]} of them have a probability above "
            f"{1 - 1 / len(found.count):g}."
        ),
        draw=lambda theme: _draw(theme, found),
        table=_table(found),
    )


def _draw(theme: Theme, found: Calibration) -> Figure:
    figure = new_figure(theme, 4.9)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = len(found.count)
    edges = np.arange(bins) / bins
    filled = found.count > 0
    style = {"width": 1 / bins, "align": "edge", "edgecolor": theme.paper}
    upper.bar(
        edges[filled],
        found.accuracy[filled],
        color=theme.first,
        label="share that is right",
        **style,
    )
    upper.plot([0, 1], [0, 1], color=theme.muted, linestyle="--", label="perfect calibration")
    upper.plot(
        found.confidence[filled],
        found.accuracy[filled],
        "o",
        color=theme.second,
        markeredgecolor=theme.paper,
        label="at the bin's mean probability",
    )
    upper.set(xlim=(0, 1), ylim=(0, 1.04), ylabel="accuracy (share right)")
    lower.bar(edges[filled], found.count[filled], color=theme.muted, **style)
    lower.set(xlabel="probability of the answer", ylabel="examples")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in (upper, lower):
        dress(axes, theme)
    legend(upper, theme, loc="upper left")
    return figure


def _table(found: Calibration) -> Table:
    bins = len(found.count)
    return Table(
        ("Probability", "Examples", "Mean probability", "Share right"),
        tuple(
            (f"{place / bins:.1f} to {(place + 1) / bins:.1f}", str(n), f"{mean:.3f}", f"{acc:.3f}")
            for place, (n, mean, acc) in enumerate(
                zip(found.count, found.confidence, found.accuracy, strict=True)
            )
            if n
        ),
    )
