"""Linear regression: the fit, and what it leaves unexplained."""

import numpy as np
from matplotlib.figure import Figure

from rockstar_training.report.data import Regressed
from rockstar_training.report.section import Section, Table
from rockstar_training.report.theme import Theme, dress, legend, new_figure, plain


def r_squared(outcome: Regressed) -> float:
    """Share of the target's variance that is explained; NaN where it has none."""
    from sklearn.metrics import r2_score

    if len(outcome.truth) < 2 or np.ptp(outcome.truth) == 0:
        return float("nan")
    return float(r2_score(outcome.truth, outcome.predicted))


def key_figures(outcome: Regressed) -> tuple[tuple[str, str], ...]:
    """R², the mean errors and, where there is one feature, the line."""
    residuals = outcome.truth - outcome.predicted
    r2 = r_squared(outcome)
    figures = [
        ("R²", "undefined: the target does not vary" if np.isnan(r2) else f"{r2:.6f}"),
        ("Root mean squared error", f"{np.sqrt(np.mean(residuals**2)):.6g}"),
        ("Mean absolute error", f"{np.abs(residuals).mean():.6g}"),
    ]
    if outcome.descent is not None:
        slope, intercept = outcome.descent.line
        figures += [("W", f"{slope:.8f}"), ("b", f"{intercept:.8f}")]
    return tuple(figures)


def sections(outcome: Regressed) -> list[Section]:
    """The fit, or predicted against true where there are several features; and the residuals."""
    r2 = r_squared(outcome)
    told = "R² is undefined" if np.isnan(r2) else f"R² = {r2:.4f}"
    residuals = outcome.truth - outcome.predicted
    fit = Section(
        key="fit",
        title="Fit",
        text=(
            f"{told} on {len(outcome.truth)} {rows_of(outcome)}."
            + ("" if _one(outcome) else " On the dashed line predictions are exact.")
        ),
        alt=f"Predictions of {outcome.target} for {len(outcome.truth)} examples; {told}.",
        draw=lambda theme: (_draw_line if _one(outcome) else _draw_against)(theme, outcome),
    )
    rest = Section(
        key="residuals",
        title="Residuals",
        text=(
            "True minus predicted. A shape in this cloud is something that the model does not "
            "follow; a fan is an error that grows with the prediction."
        ),
        alt=f"Residuals from {residuals.min():.3g} to {residuals.max():.3g}, "
        f"mean {residuals.mean():.3g}.",
        draw=lambda theme: _draw_residuals(theme, outcome),
        table=Table(("Figure", "Value"), key_figures(outcome)),
    )
    return [fit, rest]


def rows_of(outcome: Regressed) -> str:
    """What the figures are of."""
    return (
        "held-out examples" if outcome.held_out else "examples, those it was trained on among them"
    )


def _one(outcome: Regressed) -> bool:
    return len(outcome.feature_names) == 1


def _draw_line(theme: Theme, outcome: Regressed) -> Figure:
    figure = new_figure(theme, 3.6)
    axes = figure.add_subplot()
    x = outcome.features[:, 0]
    order = np.argsort(x)
    axes.plot(
        x[order], outcome.predicted[order], color=theme.second, linewidth=1.8, label="fitted line"
    )
    axes.plot(x, outcome.truth, "o", color=theme.first, markersize=5, label="data")
    axes.set_xlabel(plain(outcome.feature_names[0], 40))
    axes.set_ylabel(plain(outcome.target, 40))
    dress(axes, theme)
    legend(axes, theme, loc="best")
    return figure


def _draw_against(theme: Theme, outcome: Regressed) -> Figure:
    figure = new_figure(theme, 4.4)
    axes = figure.add_subplot()
    both = np.concatenate([outcome.truth, outcome.predicted])
    ends = [both.min(), both.max()]
    axes.plot(ends, ends, color=theme.muted, linestyle="--", label="predicted = true")
    axes.plot(
        outcome.truth,
        outcome.predicted,
        "o",
        color=theme.first,
        markersize=4,
        alpha=0.6,
        markeredgewidth=0,
        label="examples",
    )
    target = plain(outcome.target, 30)
    axes.set_xlabel(f"true {target}")
    axes.set_ylabel(f"predicted {target}")
    axes.set_aspect("equal", adjustable="datalim")
    dress(axes, theme)
    legend(axes, theme, loc="best")
    return figure


def _draw_residuals(theme: Theme, outcome: Regressed) -> Figure:
    figure = new_figure(theme, 2.9)
    axes = figure.add_subplot()
    axes.axhline(0, color=theme.muted, linestyle="--", linewidth=1.2)
    axes.plot(
        outcome.predicted,
        outcome.truth - outcome.predicted,
        "o",
        color=theme.first,
        markersize=4,
        alpha=0.7,
        markeredgewidth=0,
    )
    target = plain(outcome.target, 30)
    axes.set_xlabel(f"predicted {target}")
    axes.set_ylabel("true − predicted")
    dress(axes, theme)
    return figure
