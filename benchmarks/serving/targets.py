"""Targets: measured values and their limits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.serving.plan import OVERLOAD
from benchmarks.serving.results import (
    Cell,
    Summary,
    cost,
    images,
    p50,
    p99,
    percentile,
    rate,
    spread,
)

OURS = "rockstar"
FRAMEWORKS = ("bentoml", "litserve", "litserve-fast", "mlserver", "ray")
EQUAL_WORK = ("mosec-equal", "triton-equal", "granian-batching-equal")
_Best = Callable[[Iterable[tuple[float, str]]], tuple[float, str]]
_Ratio = tuple[float | None, str]


@dataclass(frozen=True)
class Target:
    """A measured value and its limit.

    Attributes:
        text: description of the comparison.
        measured: measured value; None if a measurement is missing.
        limit: limit of the value.
        at: whether the limit is a minimum ("least") or a maximum ("most").
        unit: unit of both.
        note: additional information.
    """

    text: str
    measured: float | None
    limit: float
    at: Literal["least", "most"]
    unit: str = "×"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the value keeps the limit; None if it was not measured."""
        if self.measured is None:
            return None
        over = self.measured >= self.limit
        return over if self.at == "least" else self.measured <= self.limit


def targets(summary: Summary) -> list[Target]:
    """All targets."""
    return [
        *(target for connections in (16, 64) for target in _one_png(summary, connections)),
        *_other_loads(summary),
        *_overload(summary),
        *_start_and_memory(summary),
    ]


def _one_png(summary: Summary, connections: int) -> list[Target]:
    def ratio(what: Callable[[Cell], float], bases: Sequence[str], best: _Best = max) -> _Ratio:
        return _compared(summary, what, bases, "png", connections, best)

    load = f"one PNG, {connections} connections:"
    equal, equal_name = ratio(rate, EQUAL_WORK[:2])
    framework, framework_name = ratio(rate, FRAMEWORKS[:-1])
    tail, tail_name = ratio(p99, EQUAL_WORK, min)
    return [
        Target(
            f"{load} throughput to the best of mosec and Triton at equal work",
            measured=equal,
            limit=1.0,
            at="least",
            note=f"{equal_name}; the aim is 1.2",
        ),
        Target(f"{load} … to mosec's as shipped", ratio(rate, ["mosec"])[0], 0.7, "least"),
        Target(f"{load} … to bare FastAPI's", ratio(rate, ["fastapi"])[0], 2.0, "least"),
        Target(
            f"{load} … to the best of LitServe, BentoML and MLServer",
            measured=framework,
            limit=3.0,
            at="least",
            note=framework_name,
        ),
        # 0.35 ms where mosec uses 0.27 ms.
        Target(f"{load} CPU to mosec's as shipped", ratio(cost, ["mosec"])[0], 0.35 / 0.27, "most"),
        Target(
            f"{load} p99 to the lowest at equal work",
            measured=tail,
            limit=1.0,
            at="most",
            note=tail_name,
        ),
    ]


def _other_loads(summary: Summary) -> list[Target]:
    json, json_name = _compared(summary, images, FRAMEWORKS, "json", 16)
    alone = spread(each.images_per_second for each in summary.results.yardsticks)
    in_batches = alone.median if alone else None
    repeated = {each: _median(summary, cost, OURS, "png", each) for each in (4, 16)}
    return [
        Target(
            "one connection: median latency to bare Granian's",
            measured=_compared(summary, p50, ["granian"], "png", 1)[0],
            limit=1.2,
            at="most",
        ),
        Target(
            "logistic, 16 connections: CPU per prediction",
            measured=_median(summary, cost, OURS, "logistic", 16),
            limit=0.25,
            at="most",
            unit="ms",
        ),
        Target(
            "32 PNGs in one request: images per second to LiteRT's alone",
            measured=_ratio(_median(summary, images, OURS, "png32", 4), in_batches),
            limit=0.8,
            at="least",
        ),
        Target(
            "… to the model server over gRPC",
            measured=_ratio(_median(summary, images, "rockstar-grpc", "png32", 4), in_batches),
            limit=0.9,
            at="least",
        ),
        Target(
            "JSON arrays: throughput to the best of LitServe, BentoML, MLServer and Ray Serve",
            measured=json,
            limit=2.0,
            at="least",
            note=json_name,
        ),
        *(
            Target(
                f"{title}: CPU per prediction to that of the repeated request",
                measured=_ratio(_median(summary, cost, OURS, workload, size), repeated[size]),
                limit=1.15,
                at="most",
                note=f"{size} connections",
            )
            for workload, title, size in (
                ("varied", "varying headers and images", 16),
                ("form", "multipart forms", 16),
                ("curl", "curl -F", 16),
                ("client", "HttpClient", 4),
            )
        ),
    ]


def _overload(summary: Summary) -> list[Target]:
    usual = [_median(summary, rate, OURS, "png", each) for each in summary.connections("png")]
    highest = max((value for value in usual if value is not None), default=None)
    probes = summary.probes(OURS, "overload")
    rejected = [value for each in probes for value in each.rejected_ms]
    sent = len(rejected) + sum(len(each.good_ms) + each.other for each in probes)
    return [
        Target(
            f"{OVERLOAD} connections: throughput to the highest before",
            measured=_ratio(_median(summary, rate, OURS, "overload", OVERLOAD), highest),
            limit=0.9,
            at="least",
        ),
        Target(
            f"{OVERLOAD} connections: p99 of rejections with 429",
            measured=percentile(rejected, 99) if rejected else None,
            limit=50.0,
            at="most",
            unit="ms",
            note=f"{len(rejected)} of {sent} were rejected" if sent else "",
        ),
        *(
            Target(
                f"p99 of /livez during {title}",
                measured=percentile(found, 99) if found else None,
                limit=20.0,
                at="most",
                unit="ms",
            )
            for name, title in (
                ("livez", "a 256-image request"),
                ("explain", "an /explain"),
                ("slow", "predictions that need 5 ms per image"),
            )
            for found in [[value for each in summary.probes(OURS, name) for value in each.good_ms]]
        ),
    ]


def _start_and_memory(summary: Summary) -> list[Target]:
    starts = summary.starts(OURS)
    start, rss, pss = (
        spread(values)
        for values in (
            [each.seconds for each in starts],
            [each.rest.rss for each in starts],
            [each.rest.pss for each in starts],
        )
    )
    return [
        Target(
            "cold start of the whole stack to the first response",
            measured=start.median if start else None,
            limit=0.8,
            at="most",
            unit="s",
        ),
        Target(
            "RSS of the whole stack, at rest",
            measured=rss.median if rss else None,
            limit=200.0,
            at="most",
            unit="MB",
            note=f"PSS {pss.median:.0f} MB" if pss else "",
        ),
    ]


def _compared(
    summary: Summary,
    what: Callable[[Cell], float],
    bases: Sequence[str],
    workload: str,
    connections: int,
    best: _Best = max,
) -> _Ratio:
    """Our value to the best of other systems', and that system's name."""
    found = [
        (value, name)
        for name in bases
        if (value := _median(summary, what, name, workload, connections)) is not None
    ]
    if not found:
        return None, "none was measured"
    value, name = best(found)
    return _ratio(_median(summary, what, OURS, workload, connections), value), name


def _median(
    summary: Summary, what: Callable[[Cell], float], system: str, workload: str, connections: int
) -> float | None:
    found = spread(map(what, summary.cells(system, workload, connections)))
    return found.median if found else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
