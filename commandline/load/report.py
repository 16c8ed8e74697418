"""What a load test says: counts, a rate, percentiles, and a histogram of latencies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from commandline.load.plan import Record

_BARS = 12
_BLOCKS = " ▏▎▍▌▋▊▉█"
# This process does little else than to send: near one whole core it measures itself.
_BUSY = 0.9


@dataclass(frozen=True)
class Latency:
    """Of the requests that were answered well, in milliseconds; percentiles by nearest rank."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    longest: float


@dataclass(frozen=True)
class Bin:
    """How many requests took up to `up_to_ms`, and longer than the bin before says."""

    up_to_ms: float
    requests: int


@dataclass(frozen=True)
class Report:
    """The figures of one load test.

    Attributes:
        requests: that were answered well.
        failed: that were not.
        unsent: that were due and found no free connection.
        seconds: that it took.
        requests_per_second: answered well.
        latency_ms: None where none was.
        errors: how often what went wrong: an HTTP status, a gRPC code, "timeout", "no connection".
        histogram: of the latencies, in steps that grow by the same factor.
        generator_cpu: cores that this process used: near 1 it was the limit, not the service.
    """

    requests: int
    failed: int
    unsent: int
    seconds: float
    requests_per_second: float
    latency_ms: Latency | None
    errors: dict[str, int]
    histogram: list[Bin]
    generator_cpu: float

    @property
    def generator_was_the_limit(self) -> bool:
        """Whether a faster service would hardly have shown."""
        return self.generator_cpu > _BUSY


def report(record: Record) -> Report:
    """The figures of a record."""
    ordered = sorted(latency * 1000 for latency in record.latencies)
    seconds = max(record.seconds, 1e-9)
    return Report(
        requests=len(ordered),
        failed=record.errors.total(),
        unsent=record.unsent,
        seconds=record.seconds,
        requests_per_second=len(ordered) / seconds,
        latency_ms=_latency(ordered) if ordered else None,
        errors=dict(record.errors.most_common()),
        histogram=_histogram(ordered),
        generator_cpu=record.cpu_seconds / seconds,
    )


def draw(histogram: Sequence[Bin], width: int) -> list[str]:
    """A line with a bar for each bin, at most so many characters wide."""
    most = max((each.requests for each in histogram), default=0)
    numbers = [f"{each.requests:,}" for each in histogram]
    room = max(8, width - 17 - max(map(len, numbers), default=0))
    return [
        f"≤ {each.up_to_ms:>9.4g} ms  {_bar(each.requests / most * room)} {number}"
        for each, number in zip(histogram, numbers, strict=True)
    ]


def _latency(ordered: Sequence[float]) -> Latency:
    def percentile(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Latency(
        mean=math.fsum(ordered) / len(ordered),
        p50=percentile(0.5),
        p90=percentile(0.9),
        p95=percentile(0.95),
        p99=percentile(0.99),
        p999=percentile(0.999),
        longest=ordered[-1],
    )


def _histogram(ordered: Sequence[float]) -> list[Bin]:
    if not ordered:
        return []
    least, most = max(ordered[0], 1e-3), max(ordered[-1], 1e-3)
    factor = max((most / least) ** (1 / _BARS), 1.01)
    edges = [least * factor ** (step + 1) for step in range(_BARS - 1)]
    edges = [edge for edge in edges if edge < most] + [most]
    counts, place = [0] * len(edges), 0
    for latency in ordered:
        while latency > edges[place] and place < len(edges) - 1:
            place += 1
        counts[place] += 1
    return [Bin(edge, count) for edge, count in zip(edges, counts, strict=True)]


def _bar(eighths_of: float) -> str:
    whole = int(eighths_of)
    part = _BLOCKS[int((eighths_of - whole) * 8)]
    return ("█" * whole + part).rstrip()
