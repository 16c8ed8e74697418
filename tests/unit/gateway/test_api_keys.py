import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from rockstar_serving.gateway import api_keys
from rockstar_serving.gateway.api_keys import Buckets, Keys, Rate


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(api_keys.time, "monotonic", lambda: Clock.now)
    return Clock


def test_so_many_at_once_then_as_fast_as_the_rate(clock):
    buckets, rate = Buckets(), Rate.parse("3/minute")
    assert [buckets.take("alice", rate) for _ in range(3)] == [0, 0, 0]
    assert buckets.take("alice", rate) == pytest.approx(20)
    clock.now += 10
    assert buckets.take("alice", rate) == pytest.approx(10)
    clock.now += 10
    assert buckets.take("alice", rate) == 0
    assert buckets.take("alice", rate) == pytest.approx(20)
    clock.now += 1e6
    assert [buckets.take("alice", rate) > 0 for _ in range(4)] == [False, False, False, True]


def test_more_names_than_buckets_still_have_limits(clock, monkeypatch):
    monkeypatch.setattr(api_keys, "_BUCKETS", 4)
    buckets = Buckets()
    names = [f"name {index}" for index in range(9)]
    waits = [buckets.take(name, Rate(1, 1)) for name in names for _ in range(3)]
    assert waits.count(0) == 4


def test_threads_share_them(clock):
    buckets, rate = Buckets(), Rate(1000, 3600)

    def take(times: int) -> int:
        return sum(buckets.take("alice", rate) == 0 for _ in range(times))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, [300] * 4)) == 1000


@pytest.mark.parametrize(
    "text", ["", "5", "0/second", "5/week", "-1/second", "1.5/second", "5 / second"]
)
def test_invalid_rates(text):
    with pytest.raises(ValueError, match="expected a rate such as 100/minute"):
        Rate.parse(text)


def entry(name: str, more: str = "") -> str:
    """The entry of a key that is its owner's name."""
    return f'[keys.{name}]\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n{more}\n'


@pytest.fixture
def keyed(tmp_path, clock):
    """Keys of a file, and a function that replaces its text and waits until it is looked at."""
    path = tmp_path / "keys.toml"
    path.write_text(entry("alice", 'rate = "2/hour"'))
    keys = Keys(path=str(path))

    def replace(text):
        if text is None:
            path.unlink()
        else:
            (tmp_path / "new").write_text(text)
            os.replace(tmp_path / "new", path)
        clock.now += 1
        return keys

    return keys, replace


def owners(keys: Keys, *presented: str) -> list[str]:
    return [keys.owner(each) for each in presented]


def test_a_changed_file_is_read_again(keyed):
    keys, replace = keyed
    assert [keys.take("alice") for _ in range(2)] == [0, 0]
    assert owners(keys, "alice", "bob") == ["alice", ""]
    replace(entry("alice", 'rate = "2/hour"') + entry("bob", 'rate = "1/hour"'))
    assert owners(keys, "alice", "bob") == ["alice", "bob"]
    # What was used before is not forgotten, and new keys have their rates.
    assert keys.take("alice") > 0
    assert keys.take("bob") == 0
    assert keys.take("bob") > 0
    assert owners(replace(entry("bob")), "alice", "bob") == ["", "bob"]
    assert not keys.gives_access("alice", "toy")
    assert keys.take("bob") == 0


def test_a_pipe_instead_of_the_file_keeps_the_earlier_keys(keyed, tmp_path, caplog):
    keys, replace = keyed
    replace(None)
    os.mkfifo(tmp_path / "keys.toml")
    assert owners(keys, "alice", "bob") == ["alice", ""]
    assert "regular file" in caplog.text


@pytest.mark.parametrize("text", [None, "", "[keys", "a=" + 5000 * "[", entry("alice", "rate = 5")])
def test_a_file_that_cannot_be_used_keeps_the_earlier_keys(keyed, text, caplog):
    keys, replace = keyed
    replace(text)
    for _ in range(3):
        assert owners(keys, "alice", "bob", "") == ["alice", "", ""]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "kept the earlier API keys" in record.getMessage()
    caplog.clear()
    assert owners(replace(entry("bob")), "alice", "bob") == ["", "bob"]


def test_keys_of_the_environment_stay(tmp_path, clock):
    path = tmp_path / "keys.toml"
    path.write_text(entry("alice"))
    words = (f"carol:{hashlib.sha256(b'carol').hexdigest()}",)
    keys = Keys(words, str(path))
    path.write_text(entry("bobby"))
    clock.now += 1
    assert owners(keys, "alice", "bobby", "carol") == ["", "bobby", "carol"]
