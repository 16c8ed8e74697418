import pytest

from rockstar_serving.gateway import balance
from rockstar_serving.gateway.balance import Connections, Share


@pytest.fixture
def connections() -> Connections:
    return Connections()


def test_alone_it_takes_all(connections):
    share = Share(connections, 7)
    share.tell(1000)
    assert share.takes_another(1000)


def test_it_leaves_them_to_who_has_fewer(connections):
    few, many = Share(connections, 1), Share(connections, 2)
    few.tell(3)
    many.tell(5)
    assert few.takes_another(3)
    assert not many.takes_another(5)
    assert many.pause_until > 0
    few.tell(5)
    assert many.takes_another(5)


@pytest.mark.parametrize("taken", [16, 600])
def test_turn_by_turn_they_get_as_many(connections, taken):
    shares = [Share(connections, place) for place in range(3)]
    for share in shares:
        share.tell(0)
    counts = [0] * len(shares)
    while sum(counts) < taken:
        # The first one is always there first.
        turn = next(n for n, share in enumerate(shares) if share.takes_another(counts[n]))
        counts[turn] += 1
        shares[turn].tell(counts[turn])
    assert max(counts) <= min(counts) + 2 + min(counts) // 8


def test_who_has_left_does_not_count(connections):
    one, other = Share(connections, 1), Share(connections, 2)
    other.tell(0)
    assert not one.takes_another(50)
    other.leave()
    assert one.takes_another(50)


def test_it_does_not_wait_for_ever_for_others(connections, monkeypatch):
    one, other = Share(connections, 1), Share(connections, 2)
    other.tell(0)
    assert not one.takes_another(50)
    monkeypatch.setattr(balance, "_PATIENCE_S", -1.0)
    assert one.takes_another(50)
    assert one.takes_another(51)
