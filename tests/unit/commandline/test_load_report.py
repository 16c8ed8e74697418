from array import array
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockstar_cli.load import Record, draw, report

LATENCIES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200)


def record(latencies, **changes) -> Record:
    return Record(array("d", latencies), **{"seconds": 2.0, "cpu_seconds": 0.5} | changes)


@given(LATENCIES)
def test_percentiles_are_those_of_numpy_by_nearest_rank(latencies):
    found = report(record(latencies)).latency_ms
    assert found is not None
    for share, value in ((50, found.p50), (95, found.p95), (99, found.p99), (99.9, found.p999)):
        oracle = np.percentile(np.array(latencies) * 1000, share, method="inverted_cdf")
        assert value == pytest.approx(oracle)
    assert found.longest == pytest.approx(max(latencies) * 1000)


@given(LATENCIES)
def test_every_answer_is_in_one_bin_of_the_histogram(latencies):
    bins = report(record(latencies)).histogram
    assert sum(each.requests for each in bins) == len(latencies)
    edges = [each.up_to_ms for each in bins]
    assert edges == sorted(edges)
    lower = 0.0
    for each in bins:
        inside = [x for x in latencies if lower < x * 1000 <= each.up_to_ms]
        assert each is bins[0] or len(inside) == each.requests
        lower = each.up_to_ms


def test_only_good_answers_make_the_rate():
    found = report(record([0.1] * 10, errors=Counter({"503": 7, "timeout": 3}), unsent=4))
    assert (found.requests, found.failed, found.unsent) == (10, 10, 4)
    assert found.requests_per_second == pytest.approx(5.0)
    assert found.errors == {"503": 7, "timeout": 3}


def test_nothing_answered():
    found = report(record([], errors=Counter({"503": 2})))
    assert found.latency_ms is None
    assert found.histogram == []
    assert draw(found.histogram, 80) == []


@pytest.mark.parametrize(("cpu", "limit"), [(0.5, False), (1.95, True)])
def test_a_generator_that_takes_a_core_says_so(cpu, limit):
    assert report(record([0.1], cpu_seconds=cpu)).generator_was_the_limit is limit


@given(LATENCIES, st.integers(40, 200))
def test_a_drawn_histogram_fits(latencies, width):
    lines = draw(report(record(latencies)).histogram, width)
    assert max(map(len, lines)) <= width
    assert max(line.count("█") for line in lines) >= 8
