from concurrent.futures import ThreadPoolExecutor

import pytest

from rockstar_serving.gateway import api_keys
from rockstar_serving.gateway.api_keys import Buckets, Rate


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(api_keys.time, "monotonic", lambda: Clock.now)
    return Clock


def test_so_many_at_once_then_as_fast_as_the_rate(clock):
    buckets = Buckets({"alice": Rate.parse("3/minute")})
    assert [buckets.take("alice") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("alice") == pytest.approx(20)
    clock.now += 10
    assert buckets.take("alice") == pytest.approx(10)
    clock.now += 10
    assert buckets.take("alice") == 0
    assert buckets.take("alice") == pytest.approx(20)
    clock.now += 1e6
    assert [buckets.take("alice") > 0 for _ in range(4)] == [False, False, False, True]


def test_each_name_has_its_own_bucket(clock):
    buckets = Buckets({"alice": Rate(1, 1), "bob": Rate(2, 1)})
    assert buckets.take("alice") == 0
    assert buckets.take("alice") > 0
    assert [buckets.take("bob") for _ in range(2)] == [0, 0]
    assert [buckets.take("carol") for _ in range(5)] == [0] * 5


def test_threads_share_them(clock):
    buckets = Buckets({"alice": Rate(1000, 3600)})

    def take(times: int) -> int:
        return sum(buckets.take("alice") == 0 for _ in range(times))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, [300] * 4)) == 1000


@pytest.mark.parametrize(
    "text", ["", "5", "0/second", "5/week", "-1/second", "1.5/second", "5 / second"]
)
def test_invalid_rates(text):
    with pytest.raises(ValueError, match="expected a rate such as 100/minute"):
        Rate.parse(text)
