"""Targets: measured values and their limits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from benchmarks.serving.results import Cell
from benchmarks.serving.summary import Summary, cost, images, p50, p99, rate, spread
from benchmarks.serving.workloads import OVERLOAD

OURS = "rockstar"
FRAMEWORKS = ("bentoml", "litserve", "mlserver", "ray")
# Throughput under overload must not fall; rounds of the same load differ by up to 10 %.
_NOT_FALLEN = 0.9


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
    return [*_rates(summary), *_latencies(summary), *_overload(summary), *_costs(summary)]


def _rates(summary: Summary) -> list[Target]:
    ours = _median(summary, rate, OURS, "png", 16)
    best, name = _best(summary, rate, max)
    alone = spread(each.images_per_second for each in summary.results.yardsticks)
    constant = _median(summary, rate, "flask-constant", "png", 16)
    return [
        Target(
            "one PNG, CNN, 16 connections: throughput to the best framework's",
            measured=_ratio(ours, best),
            limit=2.0,
            at="least",
            note=f"{name}; the aim is 3",
        ),
        Target(
            "… to bare FastAPI's",
            measured=_ratio(ours, _median(summary, rate, "fastapi", "png", 16)),
            limit=1.0,
            at="least",
        ),
        Target(
            "… to bare Flask's with LiteRT",
            measured=_ratio(ours, _median(summary, rate, "flask", "png", 16)),
            limit=1.5,
            at="least",
        ),
        Target(
            "logistic, one PNG, 16 connections: throughput to Flask's with a constant",
            measured=_ratio(_median(summary, rate, OURS, "logistic", 16), constant),
            limit=0.5,
            at="least",
        ),
        Target(
            "32 PNGs in one request: images per second to LiteRT's alone in batches of 32",
            measured=_ratio(
                _median(summary, images, OURS, "png32", 4), alone.median if alone else None
            ),
            limit=0.5,
            at="least",
        ),
    ]


def _latencies(summary: Summary) -> list[Target]:
    fastest, name = _best(summary, p99, min)
    return [
        Target(
            "one PNG, CNN, 16 connections: p99 to the lowest of the frameworks'",
            measured=_ratio(_median(summary, p99, OURS, "png", 16), fastest),
            limit=1.0,
            at="most",
            note=name,
        ),
        Target(
            "64 connections: p99 to bare FastAPI's",
            measured=_ratio(
                _median(summary, p99, OURS, "png", 64), _median(summary, p99, "fastapi", "png", 64)
            ),
            limit=1 / 3,
            at="most",
        ),
        Target(
            "one connection: median latency to bare Flask's with decoder and LiteRT",
            measured=_ratio(
                _median(summary, p50, OURS, "png", 1), _median(summary, p50, "flask", "png", 1)
            ),
            limit=2.0,
            at="most",
        ),
    ]


def _overload(summary: Summary) -> list[Target]:
    usual = [
        _median(summary, rate, OURS, "png", connections)
        for connections in summary.connections("png")
        if connections != OVERLOAD
    ]
    highest = max((value for value in usual if value is not None), default=None)
    refusals = summary.results.refusals
    refused = [value for each in refusals for value in each.refused_ms]
    asked = len(refused) + sum(len(each.answered_ms) + each.other for each in refusals)
    return [
        Target(
            f"{OVERLOAD} connections: throughput to the highest before",
            measured=_ratio(_median(summary, rate, OURS, "png", OVERLOAD), highest),
            limit=_NOT_FALLEN,
            at="least",
        ),
        Target(
            f"{OVERLOAD} connections: p99 of refusals with 429",
            measured=sorted(refused)[int(0.99 * (len(refused) - 1))] if refused else None,
            limit=50.0,
            at="most",
            unit="ms",
            note=f"{len(refused)} of {asked} were refused" if asked else "",
        ),
    ]


def _costs(summary: Summary) -> list[Target]:
    cheapest, name = _best(summary, cost, min)
    start = summary.start(lambda start: start.seconds, OURS)
    rest = summary.start(lambda start: start.rest.answering, OURS)
    whole = summary.start(lambda start: start.rest.rss, OURS)
    return [
        Target(
            "CPU for 1,000 CNN predictions, 16 connections, to the best framework's",
            measured=_ratio(_median(summary, cost, OURS, "png", 16), cheapest),
            limit=0.6,
            at="most",
            note=name,
        ),
        Target(
            "cold start of the whole stack to the first response",
            measured=start.median if start else None,
            limit=1.5,
            at="most",
            unit="s",
        ),
        Target(
            "RSS of the gateway's workers and the model server, at rest",
            measured=rest.median if rest else None,
            limit=250.0,
            at="most",
            unit="MB",
            note=f"{whole.median:.0f} MB with their supervisors" if whole else "",
        ),
    ]


def _best(
    summary: Summary,
    what: Callable[[Cell], float],
    better: Callable[[Iterable[tuple[float, str]]], tuple[float, str]],
) -> tuple[float | None, str]:
    """The best framework's value with one PNG and 16 connections, and its name."""
    found = [
        (value, name)
        for name in FRAMEWORKS
        if (value := _median(summary, what, name, "png", 16)) is not None
    ]
    return better(found) if found else (None, "no framework was measured")


def _median(
    summary: Summary, what: Callable[[Cell], float], system: str, workload: str, connections: int
) -> float | None:
    found = summary.of(what, system, workload, connections)
    return found.median if found else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
