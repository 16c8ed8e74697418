"""Medians, spread and ratios."""

import pytest

from benchmarks.serving.results import Spread, Summary, cost, percentile, rate, spread
from tests.unit.benchmarks.made_results import cell, results


def test_runs_of_the_same_load_make_one_median():
    cells = [cell("rockstar", each, run=n) for n, each in enumerate((100, 300, 200))]
    others = [
        cell("rockstar", 9, connections=64),
        cell("rockstar", 9, workers=1),
        cell("rockstar", 9, engine="tensorflow"),
        cell("fastapi", 9),
    ]
    summary = Summary(results([*cells, *others]))
    assert spread(map(rate, summary.cells("rockstar", "png", 16))) == Spread(200, 100, 300)
    assert spread(map(rate, summary.cells("rockstar", "png", 4))) is None


def test_rejected_requests_neither_count_as_responses_nor_make_predictions_cheaper():
    found = cell("rockstar", 1000, predictions=250, status_errors=750, cpu_seconds=1.0)
    assert rate(found) == 250
    assert cost(found) == 4.0
    assert cost(cell("rockstar", 10, predictions=0)) == float("inf")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], 7.0), ([3.0, 1.0], 1.0), (range(1, 101), 99), (range(201), 198)],
)
def test_a_percentile_is_a_measured_value(values, expected):
    assert percentile(values, 99) == expected
