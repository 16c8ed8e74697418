"""Targets: the numbers that are compared, and the result."""

import pytest

from benchmarks.serving.results import Probes, Summary, Yardsticks
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


def test_throughput_is_compared_with_the_best_at_equal_work():
    cells = [
        cell("rockstar", 900),
        cell("mosec-equal", 300),
        cell("triton-equal", 450),
        cell("granian-batching-equal", 1000),
    ]
    target = found("one PNG, 16 connections: throughput", cells)
    assert target.measured == 2.0
    assert target.reached
    assert "triton-equal" in target.note


def test_tail_latency_is_compared_with_the_lowest_at_equal_work():
    cells = [
        cell("rockstar", 1, connections=64, p99=30.0),
        cell("mosec-equal", 1, connections=64, p99=20.0),
        cell("granian-batching-equal", 1, connections=64, p99=90.0),
    ]
    target = found("one PNG, 64 connections: p99", cells)
    assert (target.measured, target.reached) == (1.5, False)


def test_without_a_peer_a_target_is_not_measured():
    target = found("one PNG, 16 connections: throughput", [cell("rockstar", 900)])
    assert target.measured is None
    assert target.reached is None


def test_many_images_are_compared_with_the_engine_alone():
    alone = Yardsticks(decode_ms=0.1, one_ms=1, batch_ms=15, images_per_second=2000)
    cells = [cell("rockstar", 40, predictions=1280, workload="png32", connections=4)]
    target = found("32 PNGs", cells, yardsticks=[alone])
    assert target.measured == 0.64


def test_varying_requests_are_compared_with_repeated_ones_by_their_cost():
    cells = [
        cell("rockstar", 1000, cpu_seconds=1.0),
        cell("rockstar", 500, cpu_seconds=0.75, workload="varied"),
        cell("rockstar", 100, cpu_seconds=0.25, workload="client", connections=4),
    ]
    target = found("varying headers", cells)
    assert (target.measured, target.reached) == (1.5, False)
    assert found("HttpClient", cells).measured is None


def test_overload_is_compared_with_the_highest_throughput_before():
    cells = [
        cell("rockstar", 500, connections=16),
        cell("rockstar", 1000, connections=64),
        cell("rockstar", 4000, connections=512, workload="overload", status_errors=3200),
    ]
    assert found("512 connections: throughput", cells).measured == 0.8


def test_other_clients_of_our_own_server_count_only():
    probes = Probes(good_ms=(9.0,), rejected_ms=(), other=0)
    cells = [cell("rockstar-gateway", 1, workload="livez", connections=1, probes=probes)]
    assert found("p99 of /livez during a 256", cells).measured is None


def probed(workload, connections, **probes):
    given = {"good_ms": (), "rejected_ms": (), "other": 0, **probes}
    return cell("rockstar", 1, workload=workload, connections=connections, probes=Probes(**given))


def test_rejections_are_judged_by_their_slowest_hundredth():
    cells = [probed("overload", 512, good_ms=(500.0,), rejected_ms=(5.0,) * 98 + (70.0, 80.0))]
    target = found("512 connections: p99 of rejections", cells)
    assert (target.measured, target.reached) == (70.0, False)
    target = found("512 connections: p99 of rejections", [probed("overload", 512, good_ms=(5.0,))])
    assert (target.measured, target.note) == (None, "0 of 1 were rejected")


def test_liveness_is_judged_during_a_large_request():
    cells = [probed("livez", 1, good_ms=(2.0,) * 99 + (300.0,))]
    assert found("p99 of /livez during a 256", cells).measured == 2.0
    assert found("p99 of /livez during an /explain", cells).measured is None


def test_cold_start_and_memory():
    starts = [start("rockstar", seconds) for seconds in (0.6, 0.7, 3.0)]
    assert found("cold start", starts=starts).reached
    memory = found("RSS", starts=starts)
    assert (memory.measured, memory.note) == (300, "PSS 200 MB")


def test_cost_is_compared_with_mosec():
    cells = [cell("rockstar", 1000, cpu_seconds=0.35), cell("mosec", 100, cpu_seconds=0.028)]
    target = found("one PNG, 16 connections: CPU", cells)
    assert (target.measured, target.reached) == (pytest.approx(1.25), True)
