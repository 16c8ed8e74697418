"""The error surface of y = W x + b, a bowl, with the path that gradient descent took down it."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rockstar_training.report.data import Descent
from rockstar_training.report.section import Section
from rockstar_training.report.theme import SMALL, Theme, dress, legend, new_figure

_CELLS = 60
# How much of the bowl is shown beyond the path, and how much at least.
_MARGIN, _LEAST = 1.3, 1e-3
_LEVELS = 12

Grid = NDArray[np.float64]


def mean_squared_error(descent: Descent, slope: Grid, intercept: Grid) -> Grid:
    """Of the training data, for slopes W and intercepts b of one shape."""
    residuals = slope[..., None] * descent.x + intercept[..., None] - descent.y
    error: Grid = (residuals**2).mean(axis=-1)
    return error


def section(descent: Descent) -> Section:
    """The bowl from the side and from above."""
    start, end = descent.path[0], descent.path[-1]
    steps = len(descent.path) - 1
    return Section(
        key="error_surface",
        title="Error surface and gradient descent",
        text=(
            "The mean squared error of the training data for every W and b is a bowl. Gradient "
            f"descent starts at W = {start[0]:.4g}, b = {start[1]:.4g} and goes downhill, at right "
            f"angles to the contours: {steps} steps to W = {end[0]:.8g}, b = {end[1]:.8g}. Where "
            f"the valley is long and narrow, most steps go along it.{_in_own_units(descent)}"
        ),
        alt=(
            f"A bowl over W and b, and a path of {steps} steps from "
            f"({start[0]:.3g}, {start[1]:.3g}) down to ({end[0]:.3g}, {end[1]:.3g})."
        ),
        draw=lambda theme: _draw(theme, descent),
    )


def _in_own_units(descent: Descent) -> str:
    if (descent.mean, descent.scale) == (0.0, 1.0):
        return ""
    slope, intercept = descent.line
    return (
        f" Training takes x standardised, less {descent.mean:.4g} and divided by "
        f"{descent.scale:.4g}; in the data's own units that is W = {slope:.8g}, "
        f"b = {intercept:.8g}."
    )


def _draw(theme: Theme, descent: Descent) -> Figure:
    figure = new_figure(theme, 7.2)
    slopes, intercepts = _window(descent)
    errors = mean_squared_error(descent, slopes, intercepts)
    path_errors = mean_squared_error(descent, descent.path[:, 0], descent.path[:, 1])
    places = figure.add_gridspec(2, 1, height_ratios=(0.95, 1))
    _draw_bowl(
        figure.add_subplot(places[0], projection="3d"),
        theme,
        descent,
        slopes,
        intercepts,
        errors,
        path_errors,
    )
    _draw_contours(figure.add_subplot(places[1]), theme, descent, slopes, intercepts, errors)
    return figure


def _window(descent: Descent) -> tuple[Grid, Grid]:
    """W and b around the lowest point, wide enough for the path: both [cells, cells]."""
    design = np.stack([descent.x, np.ones_like(descent.x)], axis=1)
    lowest = np.linalg.lstsq(design, descent.y, rcond=None)[0]
    finite = descent.path[np.isfinite(descent.path).all(axis=1)]
    reach = np.maximum(np.abs(finite - lowest).max(axis=0) * _MARGIN, _LEAST)
    # A bowl that is cut much narrower one way than the other does not look like one.
    reach = np.maximum(reach, reach.max() / 4)
    sides = [np.linspace(at - by, at + by, _CELLS) for at, by in zip(lowest, reach, strict=True)]
    slopes, intercepts = np.meshgrid(*sides)
    return slopes, intercepts


def _draw_bowl(
    axes: Any,
    theme: Theme,
    descent: Descent,
    slopes: Grid,
    intercepts: Grid,
    errors: Grid,
    path_errors: Grid,
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
    # Matplotlib sorts whole artists by depth: the path is put before the surface by hand.
    axes.plot(path[:, 0], path[:, 1], path_errors, color=theme.second, linewidth=2.2, zorder=5)
    axes.plot(
        path[[0, -1], 0], path[[0, -1], 1], path_errors[[0, -1]], "o", color=theme.second, zorder=6
    )
    axes.set_xlabel("W", color=theme.ink)
    axes.set_ylabel("b", color=theme.ink)
    axes.set_zlabel("mean squared error", color=theme.ink, fontsize=SMALL)
    axes.view_init(elev=30, azim=-60)
    # Smaller than its place, which would cut the label of the vertical axis.
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
    # Levels at equal distances of the root, as a parabola is met at equal distances.
    roots = np.linspace(np.sqrt(errors.min()), np.sqrt(errors.max()), _LEVELS + 2)[1:-1]
    axes.contourf(
        slopes,
        intercepts,
        errors,
        np.r_[0, roots**2, errors.max()],
        cmap=theme.terrain,
        alpha=0.75,
    )
    axes.contour(slopes, intercepts, errors, roots**2, colors=theme.muted, linewidths=0.6)
    path = descent.path
    marker = "." if len(path) <= 200 else None
    axes.plot(
        path[:, 0],
        path[:, 1],
        color=theme.second,
        marker=marker,
        linewidth=1.6,
        label="path of gradient descent",
    )
    axes.plot(*path[0], "o", color=theme.second, markeredgecolor=theme.ink, label="start")
    axes.plot(
        *path[-1], "*", color=theme.second, markeredgecolor=theme.ink, markersize=13, label="end"
    )
    axes.set_xlabel("W")
    axes.set_ylabel("b")
    dress(axes, theme, grid=False)
    legend(axes, theme, loc="best")
