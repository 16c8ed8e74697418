"""The report of a run: tables in Markdown, and a plot."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.serving.plan import WORKLOADS
from benchmarks.serving.processes import Memory
from benchmarks.serving.results import (
    MAX_FOREIGN,
    Spread,
    Summary,
    cost,
    images,
    p50,
    p99,
    percentile,
    rate,
    spread,
)
from benchmarks.serving.systems import SYSTEMS, System
from benchmarks.serving.targets import OURS, Target, targets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ENGINES = {"litert": "LiteRT", "tensorflow": "TensorFlow"}
_OURS = ("#d6336c", "#f08fb0", "#862e9c")
_THEIRS = tuple(f"C{number}" for number in range(10))


def markdown(summary: Summary) -> str:
    """The whole report."""
    results = summary.results
    documented = [name for name in summary.measured() if not _only_equal(name)]
    equal = [name for name in summary.measured() if SYSTEMS[name].equal_work]
    parts = [
        "# Serving benchmarks",
        f"{results.machine}; {results.when}; medians (smallest–largest) of {results.runs} runs "
        f"of {results.seconds:g} s; the load generator shares the cores. CPU is that of all "
        "processes of a system per prediction; foreign CPU is the share of the machine that "
        f"other processes used. \\*: more than {100 * MAX_FOREIGN:.0f} % even after repetition.",
        "## Every system as its documentation recommends, LiteRT",
        *_loads(summary, documented, "litert"),
    ]
    if any(map(_only_equal, equal)):
        parts.append("## Equal work: the contract's preprocessing and an access log, LiteRT")
        parts += _loads(summary, equal, "litert", equal_work=True)
    if with_tensorflow := summary.measured("tensorflow"):
        parts.append("## TensorFlow as the engine")
        parts += _loads(summary, with_tensorflow, "tensorflow")
    parts += [
        *_costs(summary),
        *_workers(summary),
        *_probes(summary),
        *_yardsticks(summary),
        "## Targets",
        _table(["", "target", "measured", ""], [_target(each) for each in targets(summary)]),
        *_systems(summary),
        *_failures(summary),
    ]
    return "\n\n".join(parts) + "\n"


def plot(summary: Summary, path: Path) -> None:
    """Plot the CNN with LiteRT, one PNG per request; on white, to suit light and dark pages."""
    connections = summary.connections("png")
    if not connections:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = plt.subplots(1, 2, figsize=(11, 5), facecolor="white")
    ours, theirs = iter(_OURS), iter(_THEIRS * 2)
    for name in summary.measured():
        system = SYSTEMS[name]
        if system.role == "yardstick":
            continue
        color = next(ours) if system.role == "ours" else next(theirs)
        for axis, what in zip(axes, (rate, p99), strict=True):
            measured = [
                (each, spread(map(what, summary.cells(name, "png", each)))) for each in connections
            ]
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
    figure.legend(handles, labels, loc="lower center", ncols=5, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, facecolor="white")
    plt.close(figure)


def _draw(axis: "Axes", system: System, color: str, points: list[tuple[int, Spread]]) -> None:
    """Plot a system's medians, with the area between the lowest and highest values."""
    x = [each for each, _ in points]
    axis.plot(
        x,
        [value.median for _, value in points],
        "-" if system.role in ("ours", "framework") else "--",
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


def _loads(
    summary: Summary, systems: Sequence[str], engine: str, equal_work: bool = False
) -> list[str]:
    """A heading and a table for each load; at equal work only for those of other systems too."""
    heads = ["", "predictions/s", "to ours", "p50 ms", "p99 ms", "CPU ms", "foreign %", "errors"]
    loads = [
        (workload, connections)
        for workload in WORKLOADS.values()
        for connections in summary.connections(workload.name)
    ]
    parts = []
    for workload, connections in loads:
        found = {name: summary.cells(name, workload.name, connections, engine) for name in systems}
        measured = [name for name in systems if found[name]]
        if not measured or (equal_work and not any(map(_only_equal, measured))):
            continue
        ours = spread(map(images, found.get(OURS, [])))
        rows = []
        for name in measured:
            cells = found[name]
            own = spread(map(images, cells))
            noisy = any(cell.foreign > MAX_FOREIGN for cell in cells)
            rows.append(
                [
                    _title(name) + (" \\*" if noisy else ""),
                    _text(own),
                    _ratio(own, ours),
                    *(_text(spread(map(what, cells)), 1, True) for what in (p50, p99)),
                    _text(spread(map(cost, cells)), 3),
                    _text(spread(100 * cell.foreign for cell in cells), 0, True),
                    str(sum(cell.load.errors for cell in cells)),
                ]
            )
        plural = "" if connections == 1 else "s"
        parts.append(f"### {workload.title}, {connections} connection{plural}")
        parts.append(_table(heads, rows))
    return parts


def _costs(summary: Summary) -> list[str]:
    rows = []
    for engine, engine_title in _ENGINES.items():
        for name in summary.measured(engine):
            key = SYSTEMS[name].peer or "rockstar"
            size = summary.results.installed.get(key if engine == "litert" else f"{key}-{engine}")
            starts = summary.starts(name, engine)
            rows.append(
                [
                    f"{_title(name)}, {engine_title}",
                    _text(spread(start.seconds for start in starts), 2),
                    _memory([start.rest for start in starts]),
                    _memory([start.loaded for start in starts]),
                    f"{size.megabytes:,.0f}" if size else "–",
                ]
            )
    heads = [
        "",
        "cold start s",
        "memory at rest, MB RSS / PSS",
        "after load, MB RSS / PSS",
        "installed MB",
    ]
    return ["## Start, memory and size", _table(heads, rows)] if rows else []


def _workers(summary: Summary) -> list[str]:
    heads = ["connections", "1 worker, requests/s", "2 workers, requests/s", "2 to 1", "batch"]
    rows = []
    for connections in summary.connections("png", workers=1):
        one = spread(map(rate, summary.cells(OURS, "png", connections, workers=1)))
        cells = summary.cells(OURS, "png", connections)
        two = spread(map(rate, cells))
        batch = spread(cell.batch for cell in cells if cell.batch is not None)
        rows.append([str(connections), *map(_text, (one, two)), _ratio(two, one), _text(batch, 1)])
    if not rows:
        return []
    note = "`batch` is the mean batch size with two workers."
    return ["## Gateway workers, and batch size under load", _table(heads, rows), note]


def _probes(summary: Summary) -> list[str]:
    rows = []
    for (workload, definition), name in itertools.product(WORKLOADS.items(), summary.measured()):
        found = summary.probes(name, workload)
        good = [value for each in found for value in each.good_ms]
        rejected = [value for each in found for value in each.rejected_ms]
        for status, values in (("200", good), ("429", rejected)):
            if values:
                cuts = (f"{percentile(values, each):.1f}" for each in (50, 99))
                other = str(sum(each.other for each in found))
                row = [_title(name), definition.title, status, f"{len(values):,}", *cuts, other]
                rows.append(row)
    heads = ["", "", "status", "responses", "p50 ms", "p99 ms", "other results"]
    return ["## Other clients during a load", _table(heads, rows)] if rows else []


def _yardsticks(summary: Summary) -> list[str]:
    found = summary.results.yardsticks
    if not found:
        return []
    rows = [
        ["decoding a PNG, ms", _text(spread(each.decode_ms for each in found), 3)],
        ["CNN, batch of one, ms", _text(spread(each.one_ms for each in found), 2)],
        ["CNN, batch of 32, ms per image", _text(spread(each.batch_ms / 32 for each in found), 2)],
        [
            "CNN, batches of 32, two processes, images/s",
            _text(spread(each.images_per_second for each in found)),
        ],
    ]
    rows.append(["foreign CPU, %", _text(spread(100 * each.foreign for each in found))])
    return ["## The parts alone, LiteRT", _table(["", ""], rows)]


def _systems(summary: Summary) -> list[str]:
    rows = []
    for name in dict.fromkeys([*summary.measured(), *summary.measured("tensorflow")]):
        installed = summary.results.installed.get(SYSTEMS[name].peer or "rockstar")
        version = installed.version if installed else "–"
        rows.append([_title(name), version, SYSTEMS[name].settings])
    return ["## Settings", _table(["", "version", ""], rows)] if rows else []


def _failures(summary: Summary) -> list[str]:
    failures = summary.results.failures
    if not failures:
        return []
    lines = [f"- {what}: {' '.join(reason.split())}" for what, reason in failures.items()]
    return ["## Not measured", "\n".join(lines)]


def _target(target: Target) -> list[str]:
    sign = "≥" if target.at == "least" else "≤"
    measured = "not measured" if target.measured is None else _number(target.measured, target.unit)
    verdict = {True: "reached", False: "**not reached**", None: "–"}[target.reached]
    text = f"{target.text} ({target.note})" if target.note else target.text
    return [text, f"{sign} {_number(target.limit, target.unit)}", measured, verdict]


def _number(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}" if unit == "MB" else f"{value:.2f} {unit}"


def _only_equal(name: str) -> bool:
    return SYSTEMS[name].equal_work and SYSTEMS[name].role != "ours"


def _title(name: str) -> str:
    return f"**{SYSTEMS[name].title}**" if SYSTEMS[name].role == "ours" else SYSTEMS[name].title


def _text(found: Spread | None, digits: int = 0, short: bool = False) -> str:
    if found is None:
        return "–"
    return f"{found.median:,.{digits}f}" if short else found.text(digits)


def _memory(found: Sequence[Memory]) -> str:
    rss, pss = spread(each.rss for each in found), spread(each.pss for each in found)
    return f"{_text(rss, 0, True)} / {_text(pss, 0, True)}"


def _ratio(found: Spread | None, base: Spread | None) -> str:
    return f"{found.median / base.median:.2f}" if found and base and base.median else "–"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
