"""Sections about a regression: fit, residuals, and the error surface of a linear model."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rockstar_training.report.data import Descent, Regressed
from rockstar_training.report.theme import (
    SMALL,
    Section,
    Table,
    Theme,
    dress,
    legend,
    new_figure,
    plain,
)

# The error surface: grid size, contour levels, and its extent relative to the path's, with a
# minimum.
_CELLS, _LEVELS = 60, 12
_MARGIN, _MIN_EXTENT = 1.3, 1e-3

Grid = NDArray[np.float64]


def r_squared(outcome: Regressed) -> float:
    """Return the explained share of the target's variance; NaN if the target does not vary."""
    from sklearn.metrics import r2_score

    if len(outcome.truth) < 2 or np.ptp(outcome.truth) == 0:
        return float("nan")
    return float(r2_score(outcome.truth, outcome.predicted))


def key_figures(outcome: Regressed) -> tuple[tuple[str, str], ...]:
    """List R², the mean errors and, for a linear model of one feature, the line."""
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


def regression_sections(outcome: Regressed) -> list[Section]:
    """Show the fit, the residuals, and how gradient descent found a line."""
    r2 = r_squared(outcome)
    quality = "R² is undefined" if np.isnan(r2) else f"R² = {r2:.4f}"
    residuals = outcome.truth - outcome.predicted
    line = len(outcome.feature_names) == 1
    found = [
        Section(
            key="fit",
            title="Fit",
            text=(
                f"{quality} on {len(outcome.truth)} {outcome.rows}."
                + ("" if line else " Predictions on the dashed line are exact.")
            ),
            alt=f"Predictions of {outcome.target} for {len(outcome.truth)} examples; {quality}.",
            draw=lambda theme: (_draw_line if line else _draw_predictions)(theme, outcome),
        ),
        Section(
            key="residuals",
            title="Residuals",
            text=(
                "True minus predicted values. A pattern in this cloud means that the model misses "
                "some structure; a fan shape means that errors grow with the prediction."
            ),
            alt=f"Residuals from {residuals.min():.3g} to {residuals.max():.3g}, "
            f"mean {residuals.mean():.3g}.",
            draw=lambda theme: _draw_residuals(theme, outcome),
            table=Table(("Figure", "Value"), key_figures(outcome)),
        ),
    ]
    if outcome.descent is not None:
        found.append(_surface_section(outcome.descent))
    return found


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


def _draw_predictions(theme: Theme, outcome: Regressed) -> Figure:
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
    axes.set_xlabel(f"predicted {plain(outcome.target, 30)}")
    axes.set_ylabel("true − predicted")
    dress(axes, theme)
    return figure


def mean_squared_error(descent: Descent, slope: Grid, intercept: Grid) -> Grid:
    """Compute the error on the training data for slopes W and intercepts b of the same shape."""
    residuals = slope[..., None] * descent.x + intercept[..., None] - descent.y
    error: Grid = (residuals**2).mean(axis=-1)
    return error


def _surface_section(descent: Descent) -> Section:
    start, end = descent.path[0], descent.path[-1]
    steps = len(descent.path) - 1
    text = (
        "The mean squared error of the training data as a function of W and b has the shape of a "
        f"bowl. Gradient descent starts at W = {start[0]:.4g}, b = {start[1]:.4g} and goes "
        f"downhill, perpendicular to the contours: {steps} steps to W = {end[0]:.8g}, "
        f"b = {end[1]:.8g}. In a long, narrow valley most steps go along it."
    )
    if (descent.mean, descent.scale) != (0.0, 1.0):
        slope, intercept = descent.line
        text += (
            f" Training standardizes x: it subtracts {descent.mean:.4g} and divides by "
            f"{descent.scale:.4g}. In the units of the data the result is W = {slope:.8g}, "
            f"b = {intercept:.8g}."
        )
    return Section(
        key="error_surface",
        title="Error surface and gradient descent",
        text=text,
        alt=(
            f"A bowl over W and b, and a path of {steps} steps from "
            f"({start[0]:.3g}, {start[1]:.3g}) down to ({end[0]:.3g}, {end[1]:.3g})."
        ),
        draw=lambda theme: _draw_surface(theme, descent),
    )


def _draw_surface(theme: Theme, descent: Descent) -> Figure:
    """Draw the surface from the side and from above."""
    # W and b around the minimum, wide enough for the path: both [cells, cells].
    design = np.stack([descent.x, np.ones_like(descent.x)], axis=1)
    lowest = np.linalg.lstsq(design, descent.y, rcond=None)[0]
    finite = descent.path[np.isfinite(descent.path).all(axis=1)]
    reach = np.maximum(np.abs(finite - lowest).max(axis=0) * _MARGIN, _MIN_EXTENT)
    # A bowl that is cut much narrower in one direction does not look like one.
    reach = np.maximum(reach, reach.max() / 4)
    sides = [np.linspace(at - by, at + by, _CELLS) for at, by in zip(lowest, reach, strict=True)]
    slopes, intercepts = np.meshgrid(*sides)
    errors = mean_squared_error(descent, slopes, intercepts)
    figure = new_figure(theme, 7.2)
    places = figure.add_gridspec(2, 1, height_ratios=(0.95, 1))
    bowl = figure.add_subplot(places[0], projection="3d")
    _draw_bowl(bowl, theme, descent, slopes, intercepts, errors)
    _draw_contours(figure.add_subplot(places[1]), theme, descent, slopes, intercepts, errors)
    return figure


def _draw_bowl(
    axes: Any, theme: Theme, descent: Descent, slopes: Grid, intercepts: Grid, errors: Grid
) -> None:
    axes.plot_surface(
        slopes,
        intercepts,
        errors,
        cmap=theme.terrain,
        alpha=0.8,
        edgecolor=theme.muted,
        linewidth=0.15,
        rcount=30,
        ccount=30,
        zorder=1,
    )
    path = descent.path
    heights = mean_squared_error(descent, path[:, 0], path[:, 1])
    # Matplotlib sorts whole artists by depth, so zorder puts the path in front of the surface.
    axes.plot(path[:, 0], path[:, 1], heights, color=theme.second, linewidth=2.2, zorder=5)
    ends = [0, -1]
    axes.plot(path[ends, 0], path[ends, 1], heights[ends], "o", color=theme.second, zorder=6)
    axes.set_xlabel("W", color=theme.ink)
    axes.set_ylabel("b", color=theme.ink)
    axes.set_zlabel("mean squared error", color=theme.ink, fontsize=SMALL)
    axes.view_init(elev=30, azim=-60)
    # A larger zoom would cut off the label of the vertical axis.
    axes.set_box_aspect(None, zoom=1.05)
    axes.set_facecolor(theme.paper)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(theme.paper)
        axis.line.set_color(theme.muted)
    axes.tick_params(colors=theme.muted, labelcolor=theme.ink, labelsize=SMALL)
    axes.locator_params(nbins=5)
    axes.grid(False)


def _draw_contours(
    axes: Any, theme: Theme, descent: Descent, slopes: Grid, intercepts: Grid, errors: Grid
) -> None:
    # Equally spaced in the square root, so that the contours of a parabola are equally spaced.
    roots = np.linspace(np.sqrt(errors.min()), np.sqrt(errors.max()), _LEVELS + 2)[1:-1]
    levels = np.r_[0, roots**2, errors.max()]
    axes.contourf(slopes, intercepts, errors, levels, cmap=theme.terrain, alpha=0.75)
    axes.contour(slopes, intercepts, errors, roots**2, colors=theme.muted, linewidths=0.6)
    path, color = descent.path, theme.second
    axes.plot(
        path[:, 0],
        path[:, 1],
        color=color,
        marker="." if len(path) <= 200 else None,
        linewidth=1.6,
        label="path of gradient descent",
    )
    axes.plot(*path[0], "o", color=color, markeredgecolor=theme.ink, label="start")
    axes.plot(*path[-1], "*", color=color, markeredgecolor=theme.ink, markersize=13, label="end")
    axes.set_xlabel("W")
    axes.set_ylabel("b")
    dress(axes, theme, grid=False)
    legend(axes, theme, loc="best")
