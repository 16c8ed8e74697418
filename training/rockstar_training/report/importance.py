"""Permutation importance of a table's columns."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from rockstar_training.report.data import ColumnImportance
from rockstar_training.report.section import Section, Table
from rockstar_training.report.theme import Theme, dress, new_figure, plain

# More bars than these cannot be told apart; the table has all.
_DRAWN = 20


def section(columns: Sequence[ColumnImportance], metric: str) -> Section | None:
    """The columns as bars, the most important first; None where it was not measured."""
    if not columns:
        return None
    first = columns[0]
    more = f" The {_DRAWN} most important ones are drawn." if len(columns) > _DRAWN else ""
    return Section(
        key="importance",
        title="Importance of the columns",
        text=(
            f"By how much {metric} on held-out rows falls when the values of one column are "
            "shuffled: the mean and standard deviation of several shuffles. Columns that tell the "
            "same share their importance, and may each seem unimportant." + more
        ),
        alt=f"Bars of {min(len(columns), _DRAWN)} columns; the longest is {first.name}, "
        f"{first.mean:.3f}.",
        draw=lambda theme: _draw(theme, columns[:_DRAWN], metric),
        table=Table(
            ("Column", "Mean", "Standard deviation"),
            tuple((c.name, f"{c.mean:.4f}", f"{c.std:.4f}") for c in columns),
        ),
    )


def _draw(theme: Theme, columns: Sequence[ColumnImportance], metric: str) -> Figure:
    figure = new_figure(theme, 0.9 + 0.28 * len(columns))
    axes = figure.add_subplot()
    places = range(len(columns))
    axes.barh(
        places,
        [column.mean for column in columns],
        xerr=[column.std for column in columns],
        color=theme.first,
        ecolor=theme.muted,
        height=0.65,
    )
    axes.axvline(0, color=theme.muted, linewidth=1)
    axes.set_yticks(places, [plain(column.name, 28) for column in columns])
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric} falls by")
    dress(axes, theme)
    return figure
