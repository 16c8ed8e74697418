"""Load tests in an event loop with a simulated clock, so that latencies are exact, and reports."""

import asyncio
import math
import selectors
from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockstar_cli.bench import OK, LoadPlan, Record, draw, report, run

LATENCIES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200)


class _Selector(selectors.DefaultSelector):
    """Advances the clock instead of waiting."""

    now = 0.0

    def select(self, timeout=None):
        if timeout:
            self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self):
        return self.selector.now


class Service:
    """Responds after `seconds`; `stalls` gives other durations by the number of the request."""

    def __init__(self, seconds: float = 0.1, stalls=None, outcome: str = OK):
        self.seconds, self.stalls, self.outcome = seconds, stalls or {}, outcome
        self.at_once = self.most_at_once = 0
        self.numbers: list[int] = []

    async def __call__(self, number: int, connection: int) -> str:
        self.numbers.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.stalls.get(number, self.seconds))
        self.at_once -= 1
        return self.outcome


def load(plan: LoadPlan, service: Service) -> Record:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(run(plan, service))


def test_each_connection_sends_after_its_response():
    service = Service(0.1)
    record = load(LoadPlan(connections=4, seconds=0.95), service)
    assert len(record.latencies) == 40
    assert service.most_at_once == 4
    assert list(record.latencies) == pytest.approx([0.1] * 40)
    assert record.seconds == pytest.approx(1.0)
    assert service.numbers == list(range(40))


def test_the_number_of_requests_is_limited():
    record = load(LoadPlan(connections=4, seconds=1000.0, requests=10), Service())
    assert len(record.latencies) == 10


def test_with_a_rate_requests_are_sent_when_they_are_due():
    record = load(LoadPlan(connections=4, seconds=2.0, rate=10.0), Service(0.05))
    assert len(record.latencies) == 20
    assert list(record.latencies) == pytest.approx([0.05] * 20)
    assert record.unsent == 0


def test_a_stall_counts_for_all_requests_due_meanwhile():
    """No coordinated omission: a closed loop would measure only one slow response."""
    stalled = Service(0.01, stalls={0: 1.0})
    record = load(LoadPlan(connections=1, seconds=2.0, rate=10.0), stalled)
    slow = [latency for latency in record.latencies if latency > 0.05]
    assert len(slow) == 11
    assert max(slow) == pytest.approx(1.0)

    closed = load(LoadPlan(connections=1, seconds=2.0), Service(0.01, stalls={0: 1.0}))
    assert sum(latency > 0.05 for latency in closed.latencies) == 1


def test_requests_without_a_free_connection_are_counted():
    record = load(LoadPlan(connections=2, seconds=0.95, rate=100.0), Service(0.1))
    assert len(record.latencies) == 20
    assert record.unsent == 75
    assert record.seconds == pytest.approx(1.01)


def test_errors_are_counted_separately():
    record = load(LoadPlan(connections=2, seconds=1.0, requests=6), Service(outcome="429"))
    assert record.errors == {"429": 6}
    assert len(record.latencies) == 0


def record(latencies, **changes) -> Record:
    return Record(array("d", latencies), **{"seconds": 2.0, "cpu_seconds": 0.5} | changes)


@given(LATENCIES)
def test_percentiles_are_by_nearest_rank(latencies):
    found = report(record(latencies)).latency_ms
    assert found is not None
    for share, value in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        rank = max(0, math.ceil(share * len(latencies)) - 1)
        assert value == pytest.approx(sorted(latencies)[rank] * 1000)
    assert found.longest == pytest.approx(max(latencies) * 1000)


@given(LATENCIES)
def test_every_request_is_in_one_bin_of_the_histogram(latencies):
    bins = report(record(latencies)).histogram
    assert sum(each.requests for each in bins) == len(latencies)
    edges = [each.up_to_ms for each in bins]
    assert edges == sorted(edges)
    lower = 0.0
    for each in bins:
        inside = [x for x in latencies if lower < x * 1000 <= each.up_to_ms]
        assert each is bins[0] or len(inside) == each.requests
        lower = each.up_to_ms


def test_only_successful_requests_count_for_the_rate():
    found = report(record([0.1] * 10, errors=Counter({"503": 7, "timeout": 3}), unsent=4))
    assert (found.requests, found.failed, found.unsent) == (10, 10, 4)
    assert found.requests_per_second == pytest.approx(5.0)
    assert found.errors == {"503": 7, "timeout": 3}


def test_a_report_without_successful_requests():
    found = report(record([], errors=Counter({"503": 2})))
    assert found.latency_ms is None
    assert found.histogram == []
    assert draw(found.histogram, 80) == []


@pytest.mark.parametrize(("cpu", "limit"), [(0.5, False), (1.95, True)])
def test_a_generator_that_uses_a_whole_core_is_reported(cpu, limit):
    assert report(record([0.1], cpu_seconds=cpu)).generator_was_the_limit is limit


@given(LATENCIES, st.integers(40, 200))
def test_a_drawn_histogram_fits(latencies, width):
    lines = draw(report(record(latencies)).histogram, width)
    assert max(map(len, lines)) <= width
    assert max(line.count("█") for line in lines) >= 8
