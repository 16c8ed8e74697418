"""The report of a run in Markdown."""

from collections.abc import Iterable, Sequence

from benchmarks.serving.summary import Spread, Summary, cost, images, p50, p99, rate, spread
from benchmarks.serving.systems import SYSTEMS
from benchmarks.serving.targets import OURS, Target, targets
from benchmarks.serving.workloads import OVERLOAD, WORKLOADS

_ENGINES = {"litert": "LiteRT", "tensorflow": "TensorFlow"}


def markdown(summary: Summary) -> str:
    """The whole report."""
    results = summary.results
    parts = [
        "# Serving benchmarks",
        f"{results.machine}; {results.when}; medians (smallest–largest) of {results.rounds} rounds "
        f"of {results.seconds:g} s; the load generator shares the cores.",
        *(part for engine in _ENGINES for part in _one_png(summary, engine)),
        *_others(summary),
        *_costs(summary),
        *_curves(summary),
        *_yardsticks(summary),
        "## Targets",
        _table(["", "target", "measured", ""], [_target(each) for each in targets(summary)]),
        *_systems(summary),
        *_failures(summary),
    ]
    return "\n\n".join(parts) + "\n"


def _one_png(summary: Summary, engine: str) -> list[str]:
    systems = summary.measured(engine)
    connections = [
        each
        for each in summary.connections("png")
        if any(summary.of(rate, name, "png", each, engine=engine) for name in systems)
        and each != OVERLOAD
    ]
    if not connections:
        return []
    heads = ["", *(f"{each} conn." for each in connections), f"to ours at {_typical(connections)}"]
    rates, tails = [], []
    for name in systems:
        ours = summary.of(rate, OURS, "png", _typical(connections), engine=engine)
        own = summary.of(rate, name, "png", _typical(connections), engine=engine)
        found = [summary.of(rate, name, "png", each, engine=engine) for each in connections]
        rates.append([_title(name), *map(_text, found), _ratio(own, ours)])
        middle = [summary.of(p50, name, "png", each, engine=engine) for each in connections]
        high = [summary.of(p99, name, "png", each, engine=engine) for each in connections]
        wrong = sum(summary.errors(name, "png", each, engine) for each in connections)
        cells = [
            f"{_text(a, 1, True)} / {_text(b, 1, True)}" for a, b in zip(middle, high, strict=True)
        ]
        tails.append([_title(name), *cells, str(wrong)])
    return [
        f"## One PNG, the CNN, {_ENGINES[engine]}: requests per second",
        _table(heads, rates),
        "Latency in ms, median / p99, and errors in all rounds:",
        _table([*heads[:-1], "errors"], tails),
    ]


def _others(summary: Summary) -> list[str]:
    rows = []
    for workload in WORKLOADS.values():
        if workload.name == "png":
            continue
        for connections in summary.connections(workload.name):
            ours = summary.of(images, OURS, workload.name, connections)
            for name in summary.measured():
                found = summary.of(images, name, workload.name, connections)
                if found:
                    rows.append(
                        [
                            f"{workload.title}, {connections} conn.",
                            _title(name),
                            _text(found),
                            _ratio(found, ours),
                            _text(summary.of(p50, name, workload.name, connections), 1, True),
                            _text(summary.of(p99, name, workload.name, connections), 1, True),
                            str(summary.errors(name, workload.name, connections)),
                        ]
                    )
    if not rows:
        return []
    heads = ["", "", "predictions/s", "to ours", "p50 ms", "p99 ms", "errors"]
    return ["## Other workloads, LiteRT", _table(heads, rows)]


def _costs(summary: Summary) -> list[str]:
    rows = []
    for engine in _ENGINES:
        for name in summary.measured(engine):
            key = SYSTEMS[name].peer or "rockstar"
            size = summary.results.installed.get(key if engine == "litert" else f"{key}-{engine}")
            rows.append(
                [
                    f"{_title(name)}, {_ENGINES[engine]}",
                    _text(summary.of(cost, name, "png", 16, engine=engine), 2),
                    _text(summary.start(lambda start: start.seconds, name, engine), 2),
                    _memory(
                        summary.start(lambda start: start.rest.rss, name, engine),
                        summary.start(lambda start: start.rest.pss, name, engine),
                    ),
                    _memory(
                        summary.start(lambda start: start.loaded.rss, name, engine),
                        summary.start(lambda start: start.loaded.pss, name, engine),
                    ),
                    f"{size.megabytes:,.0f}" if size else "–",
                ]
            )
    heads = [
        "",
        "CPU s per 1,000 predictions (one PNG, 16 conn.)",
        "cold start s",
        "memory at rest, MB RSS / PSS",
        "after load, MB RSS / PSS",
        "installed MB",
    ]
    sizes = ", ".join(f"{name} {size:,.0f} MB" for name, size in summary.results.images.items())
    images = f"Container images: {sizes or 'none on this machine'}."
    return ["## Costs", _table(heads, rows), images] if rows else []


def _curves(summary: Summary) -> list[str]:
    heads = ["connections", "1 worker, requests/s", "2 workers, requests/s", "2 to 1", "batch"]
    rows = []
    for connections in summary.connections("png", workers=1):
        one = summary.of(rate, OURS, "png", connections, workers=1)
        two = summary.of(rate, OURS, "png", connections)
        batch = _text(summary.batch(OURS, connections), 1)
        rows.append([str(connections), _text(one), _text(two), _ratio(two, one), batch])
    if not rows:
        return []
    note = "`batch` is the mean batch size with two workers."
    return ["## Gateway workers, and batch size under load", _table(heads, rows), note]


def _yardsticks(summary: Summary) -> list[str]:
    found = summary.results.yardsticks
    if not found:
        return []
    rows = [
        ["decoding a PNG, ms", _text(spread(each.decode_ms for each in found), 3)],
        ["CNN, batch of one, ms", _text(spread(each.one_ms for each in found), 2)],
        [
            "CNN, batch of 32, ms per image",
            _text(spread(each.batch_ms / 32 for each in found), 2),
        ],
        [
            "CNN, batches of 32, two processes, images/s",
            _text(spread(each.images_per_second for each in found)),
        ],
        [
            "Flask with a constant response, one connection, median ms",
            _text(summary.of(p50, "flask-constant", "png", 1), 2),
        ],
    ]
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
    return f"{value:.0f} {unit}" if unit in ("MB", "ms") else f"{value:.2f} {unit}"


def _typical(connections: Sequence[int]) -> int:
    return 16 if 16 in connections else connections[0]


def _title(name: str) -> str:
    return f"**{SYSTEMS[name].title}**" if SYSTEMS[name].role == "ours" else SYSTEMS[name].title


def _text(found: Spread | None, digits: int = 0, short: bool = False) -> str:
    if found is None:
        return "–"
    return f"{found.median:,.{digits}f}" if short else found.text(digits)


def _memory(rss: Spread | None, pss: Spread | None) -> str:
    return f"{_text(rss, 0, True)} / {_text(pss, 0, True)}"


def _ratio(found: Spread | None, base: Spread | None) -> str:
    return f"{found.median / base.median:.2f}" if found and base and base.median else "–"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
