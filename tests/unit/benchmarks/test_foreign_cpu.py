"""Foreign CPU: its share, and the repetition of disturbed measurements."""

import pytest

from benchmarks.serving.measurements import least_disturbed
from benchmarks.serving.processes import Cpu
from tests.unit.benchmarks.made_results import cell


@pytest.mark.parametrize(("busy", "share"), [(13.0, 0.2), (11.0, 0.0), (10.9, 0.0)])
def test_foreign_cpu_is_what_neither_system_nor_harness_used(busy, share):
    before = Cpu(system=100.0, own=10.0, busy=1000.0, total=9000.0)
    after = Cpu(system=108.0, own=13.0, busy=1000.0 + busy, total=9010.0)
    assert (after - before).foreign == pytest.approx(share)


@pytest.mark.parametrize(
    ("shares", "measured", "kept"),
    [
        ([0.1], 1, 0.1),
        ([0.5, 0.05, 0.01], 2, 0.05),
        ([0.5, 0.2, 0.3, 0.0], 3, 0.2),
    ],
)
def test_disturbed_loads_are_repeated_twice_at_most(shares, measured, kept):
    remaining = iter(shares)
    found = least_disturbed(lambda: cell("rockstar", 1, foreign=next(remaining)))
    assert found.foreign == kept
    assert len(list(remaining)) == len(shares) - measured
