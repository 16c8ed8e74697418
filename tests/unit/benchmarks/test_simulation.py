import pytest

from benchmarks.simulation import MEASURED, Costs, closed, opened


@pytest.mark.parametrize(("connections", "one", "two", "_batch"), MEASURED)
def test_throughput_is_about_what_was_measured(connections, one, two, _batch):
    for workers, measured in ((1, one), (2, two)):
        rate, _ = closed(connections, workers, Costs(), seconds=0.2, runs=2)
        assert rate == pytest.approx(measured, rel=0.35)


def test_a_pod_that_gets_too_much_rejects_the_rest():
    load = opened(rate=6000, pods=1, costs=Costs(client=0.0), seconds=0.3)
    assert load.cpu == pytest.approx(1, abs=0.05)
    assert 0.4 < load.rejected < 0.8
    assert load.p99 < 1000
