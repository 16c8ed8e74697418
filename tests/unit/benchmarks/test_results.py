"""Medians, spread and ratios."""

import pytest

from benchmarks.serving.results import Spread, Summary, cost, images, percentile, rate, spread
from tests.unit.benchmarks.made_results import cell, results


def test_a_spread_is_median_and_extremes():
    assert spread([5, 1, 3, 9]) == Spread(4, 1, 9)
    assert spread([]) is None


@pytest.mark.parametrize(
    ("found", "digits", "text"),
    [
        (Spread(1234.4, 1000, 1500), 0, "1,234 (1,000–1,500)"),
        (Spread(1.25, 1.25, 1.25), 1, "1.2"),
    ],
)
def test_a_spread_as_text(found, digits, text):
    assert found.text(digits) == text


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


def test_images_count_each_one_of_a_request():
    assert images(cell("rockstar", 10, predictions=320)) == 320


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], 7.0), ([3.0, 1.0], 1.0), (range(1, 101), 99), (range(201), 198)],
)
def test_a_percentile_is_a_measured_value(values, expected):
    assert percentile(values, 99) == expected
