"""Confusion matrix: what each class is taken for, with recall and precision."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rockstar_training.report.data import Classified
from rockstar_training.report.section import Section, Table
from rockstar_training.report.theme import SMALL, WIDTH, Theme, dress, new_figure, plain

# Above these, counts and names of classes would run into each other.
_MOST_COUNTED, _MOST_NAMED = 16, 40
# Letters in all column names together that fit side by side.
_UPRIGHT = 36


@dataclass(frozen=True, eq=False)
class ClassScores:
    """How well each class is told; NaN where a class has no example or was never predicted.

    Attributes:
        counts: int64 [classes, classes], a row for each true class, a column for each predicted.
        precision: float64 [classes], share of what was called this that is it.
        recall: float64 [classes], share of this that was called it.
        f1: float64 [classes], harmonic mean of both.
        support: int64 [classes], examples of it.
    """

    counts: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def scores(outcome: Classified) -> ClassScores:
    """Count what was taken for what."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    classes = np.arange(outcome.probabilities.shape[1])
    with warnings.catch_warnings():
        # Classes that are not in the held-out examples are shown as such.
        warnings.simplefilter("ignore")
        precision, recall, f1, support = precision_recall_fscore_support(
            outcome.truth, outcome.predicted, labels=classes, zero_division=np.nan
        )
        counts = confusion_matrix(outcome.truth, outcome.predicted, labels=classes)
    return ClassScores(counts, precision, recall, f1, support)


def score_table(outcome: Classified, labels: tuple[str, ...]) -> Table:
    """Precision, recall and F1 of each class."""
    found = scores(outcome)
    columns = (found.support, np.diag(found.counts), found.precision, found.recall, found.f1)
    return Table(
        ("Label", "Examples", "Right", "Precision", "Recall", "F1"),
        tuple(
            (label, str(n), str(right), share(p), share(r), share(f))
            for label, n, right, p, r, f in zip(labels, *columns, strict=True)
        ),
    )


def share(value: float) -> str:
    """A share with three decimals; a dash where it is undefined."""
    return "–" if np.isnan(value) else f"{value:.3f}"


def section(outcome: Classified, labels: tuple[str, ...]) -> Section:
    """The matrix and the scores of each class."""
    found = scores(outcome)
    return Section(
        key="confusion_matrix",
        title="Confusion matrix",
        text=(
            "Rows are what the held-out examples are, columns what they were taken for; the "
            "diagonal is right. Recall is the share of a row that is right, precision that of a "
            "column. The colour is the share of the row, made stronger for small shares so that "
            "single mistakes show."
        ),
        alt=_alt(found, labels),
        draw=lambda theme: _draw(theme, found, labels),
        table=score_table(outcome, labels),
    )


def _draw(theme: Theme, found: ClassScores, labels: tuple[str, ...]) -> Figure:
    figure = new_figure(theme, WIDTH * 1.02)
    axes = figure.add_subplot()
    rows = np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
    shares = found.counts / rows
    axes.imshow(shares, cmap=theme.sequential, norm=PowerNorm(0.4, 0, 1), aspect="equal")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    dress(axes, theme, grid=False)
    axes.tick_params(length=0)
    _name(axes, labels)
    if len(labels) <= _MOST_COUNTED:
        _write_counts(axes, theme, found.counts, shares)
        _write_margins(axes, theme, found)
    return figure


def _name(axes: Axes, labels: tuple[str, ...]) -> None:
    if len(labels) > _MOST_NAMED:
        return
    names = [plain(label) for label in labels]
    # Upright names of all columns side by side would need more room than there is.
    long = len(names) * max(map(len, names)) > _UPRIGHT
    size = SMALL if len(labels) <= 20 else SMALL * 0.7
    axes.set_xticks(range(len(names)), names, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)


def _write_counts(
    axes: Axes, theme: Theme, counts: NDArray[np.int64], shares: NDArray[np.float64]
) -> None:
    for (row, column), count in np.ndenumerate(counts):
        # The colours are as dark, or as light, as the paper's opposite from about here.
        over = shares[row, column] > 0.25
        axes.text(
            column,
            row,
            str(count) if count else "·",
            ha="center",
            va="center",
            fontsize=SMALL,
            color=(theme.paper if over else theme.ink) if count else theme.muted,
            fontweight="bold" if count and row != column else "normal",
        )


def _write_margins(axes: Axes, theme: Theme, found: ClassScores) -> None:
    """Recall to the right of the rows, precision above the columns, in per cent."""
    style: dict[str, Any] = {
        "textcoords": "offset points",
        "fontsize": SMALL,
        "color": theme.ink,
        "annotation_clip": False,
    }
    right = {**style, "xycoords": axes.get_yaxis_transform(), "ha": "left", "va": "center"}
    above = {**style, "xycoords": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    for place, (recall, precision) in enumerate(zip(found.recall, found.precision, strict=True)):
        axes.annotate(_percent(recall), (1, place), (6, 0), **right)
        axes.annotate(_percent(precision), (place, 1), (0, 6), **above)
    names = {**style, "xycoords": axes.transAxes, "va": "bottom", "color": theme.muted}
    axes.annotate("recall %", (1, 1), (6, 6), **names)
    axes.annotate("precision %", (0, 1), (0, 20), **names)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.0f}"


def _alt(found: ClassScores, labels: tuple[str, ...]) -> str:
    wrong = found.counts.copy()
    np.fill_diagonal(wrong, 0)
    right, count = int(np.trace(found.counts)), int(found.counts.sum())
    told = f"Matrix of {len(labels)} classes: {right} of {count} examples on the diagonal."
    if not wrong.any():
        return told
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    return (
        f"{told} Most often mistaken: {labels[int(row)]} for {labels[int(column)]}, "
        f"{wrong[row, column]} times."
    )
