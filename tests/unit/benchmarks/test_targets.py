"""Targets: the numbers that are compared, and the result."""

import pytest

from benchmarks.serving.results import Refusals, Yardsticks
from benchmarks.serving.summary import Summary
from benchmarks.serving.targets import Target, targets
from tests.unit.benchmarks.made_results import cell, results, start


def found(text, *arguments, **more):
    """The target whose text begins so."""
    all_of_them = targets(Summary(results(*arguments, **more)))
    return next(each for each in all_of_them if each.text.startswith(text))


@pytest.mark.parametrize(
    ("at", "measured", "reached"),
    [
        ("least", 2.0, True),
        ("least", 1.9, False),
        ("most", 2.0, True),
        ("most", 2.1, False),
        ("most", None, None),
    ],
)
def test_a_limit_itself_is_reached(at, measured, reached):
    assert Target("", measured=measured, limit=2.0, at=at).reached is reached


def test_throughput_is_compared_with_the_best_framework():
    cells = [cell("rockstar", 900), cell("bentoml", 300), cell("litserve", 450), cell("ray", 80)]
    target = found("one PNG, CNN, 16 connections: throughput", cells)
    assert target.measured == 2.0
    assert target.reached
    assert "litserve" in target.note


def test_tail_latency_is_compared_with_the_lowest_of_the_frameworks():
    cells = [
        cell("rockstar", 1, p99=30.0),
        cell("bentoml", 1, p99=20.0),
        cell("mlserver", 1, p99=90.0),
    ]
    target = found("one PNG, CNN, 16 connections: p99", cells)
    assert (target.measured, target.reached) == (1.5, False)


def test_without_a_peer_a_target_is_not_measured():
    target = found("one PNG, CNN, 16 connections: throughput", [cell("rockstar", 900)])
    assert target.measured is None
    assert target.reached is None


def test_many_images_are_compared_with_the_engine_alone():
    alone = Yardsticks(decode_ms=0.1, one_ms=1, batch_ms=15, images_per_second=2000)
    cells = [cell("rockstar", 40, predictions=1280, workload="png32", connections=4)]
    target = found("32 PNGs", cells, yardsticks=[alone])
    assert target.measured == 0.64


def test_overload_is_compared_with_the_highest_throughput_before():
    cells = [
        cell("rockstar", 500, connections=16),
        cell("rockstar", 1000, connections=64),
        cell("rockstar", 4000, connections=512, status_errors=3200),
    ]
    assert found("512 connections: throughput", cells).measured == 0.8


def test_refusals_are_judged_by_their_slowest_hundredth():
    refusals = [Refusals(answered_ms=(500.0,), refused_ms=(5.0,) * 98 + (70.0, 80.0), other=0)]
    target = found("512 connections: p99 of refusals", refusals=refusals)
    assert (target.measured, target.reached) == (70.0, False)
    nobody = [Refusals(answered_ms=(500.0,), refused_ms=(), other=0)]
    target = found("512 connections: p99 of refusals", refusals=nobody)
    assert (target.measured, target.note) == (None, "0 of 1 were refused")


def test_cold_start_and_memory():
    starts = [start("rockstar", seconds) for seconds in (1.2, 1.4, 3.0)]
    assert found("cold start", starts=starts).reached
    memory = found("RSS", starts=starts)
    assert (memory.measured, memory.note) == (200, "300 MB with their supervisors")


def test_cost_is_compared_with_the_cheapest_framework():
    cells = [
        cell("rockstar", 1000, cpu_seconds=1.0),
        cell("ray", 100, cpu_seconds=1.0),
        cell("litserve", 100, cpu_seconds=0.25),
    ]
    target = found("CPU", cells)
    assert (target.measured, target.reached) == (0.4, True)
