"""A plot of throughput and tail latency by number of connections."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.serving.summary import Spread, Summary, p99, rate
from benchmarks.serving.system import System
from benchmarks.serving.systems import SYSTEMS
from benchmarks.serving.workloads import OVERLOAD

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS = ("#d6336c", "#f08fb0")
_THEIRS = ("#1c7ed6", "#2b8a3e", "#e8590c", "#6741d9", "#495057", "#0b7285")


def plot(summary: Summary, path: Path) -> None:
    """Plot the CNN with LiteRT, one PNG per request; on white, to suit light and dark pages."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    connections = [each for each in summary.connections("png") if each != OVERLOAD]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), facecolor="white")
    ours, theirs = iter(_OURS), iter(_THEIRS)
    for name in summary.measured():
        system = SYSTEMS[name]
        if system.role == "yardstick":
            continue
        color = next(ours) if system.role == "ours" else next(theirs)
        for axis, what in zip(axes, (rate, p99), strict=True):
            measured = [(each, summary.of(what, name, "png", each)) for each in connections]
            _draw(axis, system, color, [(each, value) for each, value in measured if value])
    for axis, title in zip(axes, ("requests per second", "p99 latency, ms"), strict=True):
        axis.set_xscale("log", base=2)
        axis.set_xticks(connections, [str(each) for each in connections])
        axis.set_xlabel("connections")
        axis.set_title(title)
        axis.grid(alpha=0.25)
    axes[0].set_ylim(bottom=0)
    axes[1].set_yscale("log")
    axes[1].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[1].yaxis.set_major_formatter("{x:g}")
    axes[1].yaxis.set_minor_locator(NullLocator())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor="white")
    plt.close(figure)


def _draw(axis: "Axes", system: System, color: str, points: list[tuple[int, Spread]]) -> None:
    """Plot a system's medians, with the area between the lowest and highest values."""
    x = [each for each, _ in points]
    axis.plot(
        x,
        [value.median for _, value in points],
        "--" if system.role == "bare" else "-",
        marker="o",
        color=color,
        label=system.title,
        linewidth=2.6 if system.role == "ours" else 1.5,
    )
    axis.fill_between(
        x,
        [value.low for _, value in points],
        [value.high for _, value in points],
        color=color,
        alpha=0.12,
        linewidth=0,
    )
