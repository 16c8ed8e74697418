"""Sections about a regression: fit, residuals, and the error surface of a linear model."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rockstar_contract.contract import Encoded, TableInput
from rockstar_contract.tables import NumericColumn
from rockstar_training.evaluation import regression_metrics
from rockstar_training.report import theme
from rockstar_training.report.theme import Section, Table, new_plot, plain

if TYPE_CHECKING:
    from rockstar_training.networks import Network

# The error surface: grid size, contour levels, and its extent relative to the path's, with a
# minimum.
_CELLS, _LEVELS = 60, 12
_MARGIN, _MIN_EXTENT = 1.3, 1e-3
# Style of the points of many examples.
_POINTS: dict[str, Any] = {"markersize": 4, "markeredgewidth": 0}

Grid = NDArray[np.float64]
# Slopes, intercepts and errors.
Surface = tuple[Grid, Grid, Grid]


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent on the mean squared error of y = W x + b."""

    x: NDArray[np.float64]  # [n], training data, standardized
    y: NDArray[np.float64]  # [n]
    path: NDArray[np.float64]  # [epochs + 1, 2], W and b at the start and after each epoch
    mean: float  # subtracted from x before training
    scale: float  # by which x was then divided

    @property
    def line(self) -> tuple[float, float]:
        """The final W and b, in the units of the data."""
        slope = float(self.path[-1, 0]) / self.scale
        return slope, float(self.path[-1, 1]) - slope * self.mean


@dataclass
class DescentPath:
    """Records W and b of y = W x + b after each epoch, with x standardized."""

    column: NumericColumn  # x, with its mean and scale
    points: list[tuple[float, float]] = field(default_factory=list)  # W and b, from the start on

    def record(self, network: "Network") -> None:
        """Record the network's weights."""
        scale = network.task.target_std
        weight, bias = (
            scale * float(variable.numpy().reshape(-1)[0]) for variable in network.weights
        )
        self.points.append((weight, bias))


def descent_path(model: str, spec: Encoded) -> DescentPath | None:
    """Return a recorder for a linear model of one number; None for any other model."""
    if model != "linear" or not isinstance(spec, TableInput) or len(spec.columns) > 1:
        return None
    (column,) = spec.columns
    return DescentPath(column) if isinstance(column, NumericColumn) and column.width == 1 else None


@dataclass(frozen=True, eq=False)
class Regressed:
    """Predictions of a regression."""

    truth: NDArray[np.float64]  # [n]
    predicted: NDArray[np.float64]  # [n]
    features: NDArray[np.float64]  # [n, features]
    feature_names: tuple[str, ...]
    target: str  # name of the predicted column
    descent: Descent | None  # how a linear model of one feature was trained
    held_out: bool  # whether all rows were held out from training

    @property
    def residuals(self) -> NDArray[np.float64]:
        """True minus predicted values, [n]."""
        return self.truth - self.predicted

    @property
    def rows(self) -> str:
        """Which rows the metrics are measured on."""
        return "held-out examples" if self.held_out else "examples, including training examples"

    def key_figures(self) -> tuple[tuple[str, str], ...]:
        """List R², the mean errors and, for a linear model of one feature, the line."""
        metrics = regression_metrics(self.predicted[:, np.newaxis], self.truth)
        r2 = metrics.get("test_r2")
        figures = [
            ("R²", "undefined: the target does not vary" if r2 is None else f"{r2:.6f}"),
            ("Root mean squared error", f"{metrics['test_rmse']:.6g}"),
            ("Mean absolute error", f"{np.abs(self.residuals).mean():.6g}"),
        ]
        if self.descent is not None:
            slope, intercept = self.descent.line
            figures += [("W", f"{slope:.8f}"), ("b", f"{intercept:.8f}")]
        return tuple(figures)


def regression_sections(outcome: Regressed) -> list[Section]:
    """Show the fit, the residuals, and how gradient descent found a line."""
    metrics = regression_metrics(outcome.predicted[:, np.newaxis], outcome.truth)
    quality = f"R² = {metrics['test_r2']:.4f}" if "test_r2" in metrics else "R² is undefined"
    residuals, line = outcome.residuals, len(outcome.feature_names) == 1
    exact = "" if line else " Predictions on the dashed line are exact."
    found = [
        Section(
            key="fit",
            title="Fit",
            text=f"{quality} on {len(outcome.truth)} {outcome.rows}.{exact}",
            alt=f"Predictions of {outcome.target} for {len(outcome.truth)} examples; {quality}.",
            draw=lambda: (_draw_line if line else _draw_predictions)(outcome),
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
            draw=lambda: _draw_residuals(outcome),
            table=Table(("Figure", "Value"), outcome.key_figures()),
        ),
    ]
    if outcome.descent is not None:
        found.append(_surface_section(outcome.descent))
    return found


def _draw_line(outcome: Regressed) -> Figure:
    xlabel, ylabel = plain(outcome.feature_names[0], 40), plain(outcome.target, 40)
    figure, axes = new_plot(3.6, xlabel, ylabel)
    x, y = outcome.features[:, 0], outcome.predicted
    order = np.argsort(x)
    axes.plot(x[order], y[order], color=theme.ORANGE, linewidth=1.8, label="fitted line")
    axes.plot(x, outcome.truth, "o", color=theme.BLUE, markersize=5, label="data")
    axes.legend()
    return figure


def _draw_predictions(outcome: Regressed) -> Figure:
    target = plain(outcome.target, 30)
    figure, axes = new_plot(4.4, f"true {target}", f"predicted {target}")
    both = np.concatenate([outcome.truth, outcome.predicted])
    ends = [both.min(), both.max()]
    axes.plot(ends, ends, color=theme.MUTED, linestyle="--", label="predicted = true")
    axes.plot(
        outcome.truth,
        outcome.predicted,
        "o",
        label="examples",
        color=theme.BLUE,
        alpha=0.6,
        **_POINTS,
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend()
    return figure


def _draw_residuals(outcome: Regressed) -> Figure:
    target = plain(outcome.target, 30)
    figure, axes = new_plot(2.9, f"predicted {target}", "true − predicted")
    axes.axhline(0, color=theme.MUTED, linestyle="--", linewidth=1.2)
    axes.plot(outcome.predicted, outcome.residuals, "o", color=theme.BLUE, alpha=0.7, **_POINTS)
    return figure


def _mean_squared_error(descent: Descent, slope: Grid, intercept: Grid) -> Grid:
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
        draw=lambda: _draw_surface(descent),
    )


def _draw_surface(descent: Descent) -> Figure:
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
    surface = slopes, intercepts, _mean_squared_error(descent, slopes, intercepts)
    figure = Figure(figsize=(theme.WIDTH, 7.2))
    places = figure.add_gridspec(2, 1, height_ratios=(0.95, 1))
    bowl = figure.add_subplot(places[0], projection="3d")
    _draw_bowl(bowl, descent, surface)
    _draw_contours(figure.add_subplot(places[1]), descent, surface)
    return figure


def _draw_bowl(axes: Any, descent: Descent, surface: Surface) -> None:
    lines = {"edgecolor": theme.MUTED, "linewidth": 0.15, "rcount": 30, "ccount": 30}
    axes.plot_surface(*surface, cmap=theme.TERRAIN, alpha=0.8, zorder=1, **lines)
    path = descent.path
    heights = _mean_squared_error(descent, path[:, 0], path[:, 1])
    # Matplotlib sorts whole artists by depth, so zorder puts the path in front of the surface.
    axes.plot(path[:, 0], path[:, 1], heights, color=theme.ORANGE, linewidth=2.2, zorder=5)
    ends = [0, -1]
    axes.plot(path[ends, 0], path[ends, 1], heights[ends], "o", color=theme.ORANGE, zorder=6)
    axes.set(xlabel="W", ylabel="b")
    axes.set_zlabel("mean squared error", fontsize=theme.SMALL)
    axes.view_init(elev=30, azim=-60)
    # A larger zoom would cut off the label of the vertical axis.
    axes.set_box_aspect(None, zoom=1.05)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(theme.PAPER)
        axis.line.set_color(theme.MUTED)
    axes.locator_params(nbins=5)
    axes.grid(False)


def _draw_contours(axes: Axes, descent: Descent, surface: Surface) -> None:
    errors = surface[2]
    # Equally spaced in the square root, so that the contours of a parabola are equally spaced.
    roots = np.linspace(np.sqrt(errors.min()), np.sqrt(errors.max()), _LEVELS + 2)[1:-1]
    levels = np.r_[0, roots**2, errors.max()]
    axes.contourf(*surface, levels, cmap=theme.TERRAIN, alpha=0.75)
    axes.contour(*surface, roots**2, colors=theme.MUTED, linewidths=0.6)
    path, marker = descent.path, "." if len(descent.path) <= 200 else None
    style: dict[str, Any] = {"color": theme.ORANGE}
    axes.plot(*path.T, marker=marker, linewidth=1.6, label="path of gradient descent", **style)
    style["markeredgecolor"] = theme.INK
    axes.plot(*path[0], "o", label="start", **style)
    axes.plot(*path[-1], "*", markersize=13, label="end", **style)
    axes.set(xlabel="W", ylabel="b")
    axes.grid(False)
    axes.legend()
